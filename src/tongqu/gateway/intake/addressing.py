"""Which API an address under `/ingest` means."""

from __future__ import annotations

from tongqu.gateway.publication import Api, Publication


def ingested(publication: Publication, path: str) -> Api | None:
    """The API of `/ingest/{name}`, in its newest version that takes rows so, or of `/ingest/{version}/{name}`."""
    parts = path.split("/")
    if len(parts) == 4:
        found = publication.api(parts[2], parts[3])
        return found if found is not None and found.entry.write.ingest else None
    if len(parts) != 3:
        return None
    for version in reversed(publication.versions):
        found = publication.api(version, parts[2])
        if found is not None and found.entry.write.ingest:
            return found
    return None
