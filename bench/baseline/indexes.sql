-- What the questions need: a site's events of some time, and a site's paths.
CREATE INDEX events_site_timestamp ON events (site_id, timestamp);
CREATE INDEX events_site_path ON events (site_id, path);
