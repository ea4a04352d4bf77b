-- What is known of each workspace. Times are milliseconds since 1970.
CREATE TABLE workspace (
    id                 TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 12),
    name               TEXT    NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 63),
    environment        TEXT    NOT NULL,
    environment_digest TEXT    NOT NULL,
    mounts             TEXT    NOT NULL CHECK (json_valid(mounts)),
    vcpu_count         INTEGER NOT NULL CHECK (vcpu_count > 0),
    mem_mib            INTEGER NOT NULL CHECK (mem_mib > 0),
    isolation_minimum  TEXT    NOT NULL,
    seed               TEXT    CHECK (seed IS NULL OR json_valid(seed)),
    created_at         INTEGER NOT NULL,
    used_at            INTEGER NOT NULL,
    -- Written by the supervisor alone while there is one.
    state              TEXT    NOT NULL CHECK (state IN ('stopped', 'starting', 'running', 'stopping', 'failed')),
    failure            TEXT    CHECK ((failure IS NOT NULL) = (state = 'failed')),
    isolation          TEXT    CHECK (isolation IS NULL OR json_valid(isolation)),
    exec_count         INTEGER NOT NULL DEFAULT 0 CHECK (exec_count >= 0)
) STRICT;

CREATE TABLE label (
    workspace_id TEXT NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
    key          TEXT NOT NULL,
    value        TEXT NOT NULL,
    PRIMARY KEY (workspace_id, key)
) STRICT, WITHOUT ROWID;

-- Commands run in a workspace; numbers begin at 1 in each. Their output is in files beside the workspace.
CREATE TABLE exec (
    workspace_id   TEXT    NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
    exec           INTEGER NOT NULL CHECK (exec > 0),
    command        TEXT    NOT NULL,
    -- NULL while it runs.
    outcome        TEXT    CHECK (outcome IS NULL OR json_valid(outcome)),
    stdout_bytes   INTEGER NOT NULL DEFAULT 0,
    stderr_bytes   INTEGER NOT NULL DEFAULT 0,
    stdout_dropped INTEGER NOT NULL DEFAULT 0,
    stderr_dropped INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, exec)
) STRICT, WITHOUT ROWID;

-- What was done, in order: rows are added, closed once with their outcome, and never changed again. They outlive
-- the workspace they are about.
CREATE TABLE event (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    workspace_id TEXT    NOT NULL,
    op           TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    -- NULL until it has ended.
    outcome      TEXT,
    exec         INTEGER,
    duration_ms  INTEGER
) STRICT;

CREATE INDEX event_by_workspace ON event (workspace_id, id);
