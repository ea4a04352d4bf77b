-- Ids of the layers that the live layer lies over, uppermost first, when these are not the layers of the head: that is a copy of the live layer then.
ALTER TABLE workspace ADD COLUMN below TEXT CHECK (below IS NULL OR json_valid(below));
