"""The tables of identities as numbered steps. Times are Unix seconds; no secret, password or token is ever stored as
it is: those that are only compared are kept as keyed digests, those that are needed again are sealed."""

from __future__ import annotations

IDENTITY: tuple[str, ...] = (
    """
    CREATE TABLE state (revision INTEGER NOT NULL);
    INSERT INTO state VALUES (1);
    CREATE TABLE clients (
        id TEXT PRIMARY KEY,
        roles TEXT NOT NULL,
        attributes TEXT NOT NULL,
        scopes TEXT NOT NULL,
        purposes TEXT NOT NULL,
        grants TEXT NOT NULL,
        redirects TEXT NOT NULL,
        jwks TEXT NOT NULL,
        sandbox INTEGER NOT NULL,
        public INTEGER NOT NULL,
        disabled INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        expires REAL,
        epoch INTEGER NOT NULL DEFAULT 0,
        used REAL
    ) WITHOUT ROWID;
    CREATE TABLE credentials (
        id TEXT PRIMARY KEY,
        client TEXT NOT NULL REFERENCES clients ON DELETE CASCADE,
        kind TEXT NOT NULL,
        digest BLOB NOT NULL,
        created REAL NOT NULL,
        expires REAL,
        revoked REAL,
        used REAL,
        algorithm TEXT NOT NULL DEFAULT '',
        key TEXT NOT NULL DEFAULT '',
        nonce BLOB NOT NULL DEFAULT x'',
        ciphertext BLOB NOT NULL DEFAULT x'',
        tag BLOB NOT NULL DEFAULT x''
    ) WITHOUT ROWID;
    CREATE INDEX credentials_by_client ON credentials (client, kind);
    CREATE INDEX credentials_by_digest ON credentials (kind, digest);
    CREATE TABLE users (
        name TEXT PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        roles TEXT NOT NULL,
        attributes TEXT NOT NULL,
        duty TEXT NOT NULL,
        password TEXT NOT NULL,
        changed REAL NOT NULL,
        must_change INTEGER NOT NULL,
        disabled INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        expires REAL,
        epoch INTEGER NOT NULL DEFAULT 0,
        used REAL,
        totp_confirmed INTEGER NOT NULL DEFAULT 0,
        totp_step INTEGER NOT NULL DEFAULT 0,
        algorithm TEXT NOT NULL DEFAULT '',
        key TEXT NOT NULL DEFAULT '',
        nonce BLOB NOT NULL DEFAULT x'',
        ciphertext BLOB NOT NULL DEFAULT x'',
        tag BLOB NOT NULL DEFAULT x''
    ) WITHOUT ROWID;
    CREATE TABLE old_passwords (user TEXT NOT NULL REFERENCES users ON DELETE CASCADE, at REAL NOT NULL,
        password TEXT NOT NULL);
    CREATE TABLE failures (kind TEXT NOT NULL, what BLOB NOT NULL, count INTEGER NOT NULL, last REAL NOT NULL,
        until REAL NOT NULL, PRIMARY KEY (kind, what)) WITHOUT ROWID;
    CREATE TABLE sessions (digest BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
        created REAL NOT NULL, seen REAL NOT NULL, address TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE codes (digest BLOB PRIMARY KEY, document TEXT NOT NULL, expires REAL NOT NULL,
        family TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
    CREATE TABLE families (id TEXT PRIMARY KEY, client TEXT NOT NULL, user TEXT NOT NULL, expires REAL NOT NULL,
        revoked REAL) WITHOUT ROWID;
    CREATE TABLE refresh (digest BLOB PRIMARY KEY, family TEXT NOT NULL REFERENCES families ON DELETE CASCADE,
        document TEXT NOT NULL, expires REAL NOT NULL, used REAL) WITHOUT ROWID;
    CREATE TABLE revoked (jti TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE seen (kind TEXT NOT NULL, what BLOB NOT NULL, expires REAL NOT NULL, PRIMARY KEY (kind, what))
        WITHOUT ROWID;
    CREATE INDEX seen_by_end ON seen (expires);
    CREATE TABLE signing (
        kid TEXT PRIMARY KEY,
        alg TEXT NOT NULL,
        public TEXT NOT NULL,
        created REAL NOT NULL,
        signs REAL NOT NULL,
        ends REAL,
        algorithm TEXT NOT NULL,
        key TEXT NOT NULL,
        nonce BLOB NOT NULL,
        ciphertext BLOB NOT NULL,
        tag BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE reviews (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, subject TEXT NOT NULL,
        decision TEXT NOT NULL, actor TEXT NOT NULL, account TEXT NOT NULL, reason TEXT NOT NULL,
        findings TEXT NOT NULL);
    CREATE TABLE warned (subject TEXT NOT NULL, what TEXT NOT NULL, expires REAL NOT NULL, days INTEGER NOT NULL,
        at REAL NOT NULL, PRIMARY KEY (subject, what, expires, days)) WITHOUT ROWID;
    """,
)
"""What each version adds; never edit a step that was released, add one."""
