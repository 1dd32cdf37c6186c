-- One row an event.
CREATE TABLE events (
    id bigserial PRIMARY KEY,
    site_id text NOT NULL,
    event_type text NOT NULL,
    path text,
    user_id text,
    timestamp timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
