-- Who may look and act. Of secrets only hashes are kept: Argon2id of passwords, SHA-256 of what is
-- random itself.
CREATE TABLE users (
    name          TEXT PRIMARY KEY,
    role          TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    is_disabled   INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL,
    last_login_at INTEGER
) STRICT;

CREATE TABLE sessions (
    secret_hash BLOB PRIMARY KEY,
    user_name   TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_user ON sessions (user_name, created_at);

CREATE TABLE api_tokens (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE,
    secret_hash  BLOB NOT NULL UNIQUE,
    scope        TEXT NOT NULL,
    created_by   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER
) STRICT;

-- Each good for making the first user, once.
CREATE TABLE setup_tokens (
    secret_hash BLOB PRIMARY KEY,
    expires_at  INTEGER NOT NULL
) STRICT;
