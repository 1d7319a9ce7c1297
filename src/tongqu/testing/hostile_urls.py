"""Addresses that data may hold to lead a connection inside: the corpus, and the names it uses."""

from __future__ import annotations

PUBLIC = "93.184.216.34"
"""A public address."""
NAMES = {
    "example.com": [PUBLIC],
    "xn--fsqu00a.xn--fiqs8s": [PUBLIC],
    "rebound.example": ["127.0.0.1"],
    "half.example": [PUBLIC, "10.0.0.5"],
    "mapped.example": ["::ffff:192.168.1.1"],
    "cloud.example": ["169.254.169.254"],
    "erp.local": ["10.2.0.5"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "localhost": ["127.0.0.1", "::1"],
    "localtest.me": ["127.0.0.1"],
}

HOSTILE_URLS = (
    # IPv4 in other spellings, which resolvers and URL parsers read differently
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.0.0.5/",
    "http://172.16.8.8:8080/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://1.2.3/",
    "http://1.2.3.256/",
    # IPv6, and IPv4 dressed as IPv6
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    # metadata services
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/",
    "http://[::ffff:169.254.169.254]/",
    "http://100.100.100.200/",
    "http://169.254.0.23/",
    "http://metadata.google.internal/",
    "http://METADATA.google.internal./",
    "http://cloud.example/",
    # names that lead inside
    "http://localhost/",
    "http://LOCALHOST./",
    "http://localtest.me/",
    "http://127.0.0.1.nip.example/",
    "http://rebound.example/",
    "http://half.example/",
    "http://mapped.example/",
    # what two parsers read differently
    "http://example.com@127.0.0.1/",
    "http://user:pw@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1\t.example.com/",
    "http://example.com\r\nHost: 127.0.0.1/",
    "http://exa\u200bmple.com/",
    "http://127.0.0.1%2f.example.com/",
    "http://[::1].example.com/",
    "http://example.com:80:81/",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com../",
    "http:///etc/passwd",
    "//example.com/",
    # letters that only look like others
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://ｅxample.com/",
    "http://еxample.com/",
    "http://faß.example/",
    # other schemes
    "gopher://example.com:70/_",
    "file:///etc/passwd",
    "ftp://example.com/",
    "dict://example.com:11211/stats",
    "ldap://example.com/",
    "jar:http://example.com!/",
    "javascript:alert(1)",
    # well-known ports of other services
    "http://example.com:22/",
    "http://example.com:25/",
)
"""What data must never lead to, each in another disguise."""


def resolver(host: str, port: int) -> list[str]:
    """A name server that knows `NAMES` and nothing else; raises OSError."""
    del port
    if host not in NAMES:
        raise OSError("name not known")
    return NAMES[host]
