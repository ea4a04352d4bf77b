-- The size of a workspace's own disk, for isolations that give it one. Until now it was the same for all.
ALTER TABLE workspace ADD COLUMN disk_mib INTEGER NOT NULL DEFAULT 16384 CHECK (disk_mib > 0);
