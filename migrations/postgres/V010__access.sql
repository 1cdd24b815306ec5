-- Who may look and act. Of secrets only hashes are kept: Argon2id of passwords, SHA-256 of what is
-- random itself.
CREATE TABLE users (
    name          text PRIMARY KEY,
    role          text NOT NULL,
    password_hash text NOT NULL,
    is_disabled   boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_login_at timestamptz
);

CREATE TABLE sessions (
    secret_hash bytea PRIMARY KEY,
    user_name   text NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX sessions_user ON sessions (user_name, created_at);

CREATE TABLE api_tokens (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    secret_hash  bytea NOT NULL UNIQUE,
    scope        text NOT NULL,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz
);

-- Each good for making the first user, once.
CREATE TABLE setup_tokens (
    secret_hash bytea PRIMARY KEY,
    expires_at  timestamptz NOT NULL
);
