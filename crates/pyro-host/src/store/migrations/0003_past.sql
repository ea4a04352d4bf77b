-- The past of a workspace: what its files were, step by step. The state of files at a step is a stack of sealed layers above seed and environment;
-- each layer is a directory of changes that never changes again and that several steps and workspaces may name.

-- The layer that is written to, and the step that it lies over. Empty in workspaces that were made before there were layers.
ALTER TABLE workspace ADD COLUMN live TEXT NOT NULL DEFAULT '';
ALTER TABLE workspace ADD COLUMN head INTEGER NOT NULL DEFAULT 0 CHECK (head >= 0);
-- Steps that were undone and can be redone, the next one last.
ALTER TABLE workspace ADD COLUMN redo TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(redo));
-- Which workspace it is a fork of, and at which of its steps.
ALTER TABLE workspace ADD COLUMN origin TEXT CHECK (origin IS NULL OR json_valid(origin));
-- When it is to be deleted; NULL: never.
ALTER TABLE workspace ADD COLUMN expires_at INTEGER;

CREATE TABLE step (
    workspace_id TEXT    NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
    -- 0 is how it was made.
    step         INTEGER NOT NULL CHECK (step >= 0),
    -- The step that it was made from.
    parent       INTEGER CHECK ((parent IS NULL) = (step = 0)),
    at           INTEGER NOT NULL,
    -- What made it: the op and what that was about, and how many ops there were.
    op           TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    op_count     INTEGER NOT NULL CHECK (op_count >= 0),
    -- Ids of its layers, uppermost first.
    layers       TEXT    NOT NULL CHECK (json_valid(layers)),
    PRIMARY KEY (workspace_id, step)
) STRICT, WITHOUT ROWID;

INSERT INTO step (workspace_id, step, parent, at, op, subject, op_count, layers)
SELECT id, 0, NULL, created_at, 'workspace create', environment, 1, '[]' FROM workspace;

CREATE TABLE snapshot (
    workspace_id TEXT    NOT NULL,
    name         TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    step         INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, name),
    FOREIGN KEY (workspace_id, step) REFERENCES step (workspace_id, step) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- The step that has what was done; NULL when nothing was changed, or is not in a step yet.
ALTER TABLE event ADD COLUMN step INTEGER;
