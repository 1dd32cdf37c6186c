-- What the edge knows of an event beside its client's words: page, source, device and place.
--
-- Values that occur together are one text, with tabs between: a column of a few thousand
-- combinations costs an INSERT, a merge and the disk what one of its values would. Each value has an
-- alias of its own to be read by. ClickHouse takes a value out of each distinct text once, not once
-- a row.

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS hostname LowCardinality(String) COMMENT 'Host of the page; empty: not known' CODEC(ZSTD(1)) AFTER props,
    ADD COLUMN IF NOT EXISTS language LowCardinality(String) COMMENT 'The visitor''s language, en or en-US; empty: not known' CODEC(ZSTD(1)) AFTER hostname,
    ADD COLUMN IF NOT EXISTS screen LowCardinality(String) COMMENT 'Class of the screen by its width: small (below 576), medium (below 992), large (below 1440), wide; empty: not known' CODEC(ZSTD(1)) AFTER language,
    ADD COLUMN IF NOT EXISTS user_origin Enum8('client' = 0, 'edge' = 1) COMMENT 'Who made user_id: the client, or the edge as a hash of site, address and user agent' CODEC(ZSTD(1)) AFTER screen,
    ADD COLUMN IF NOT EXISTS _source LowCardinality(String) COMMENT 'channel, source, utm_source, utm_medium, utm_campaign, utm_term and utm_content' CODEC(ZSTD(1)) AFTER _index,
    ADD COLUMN IF NOT EXISTS _agent LowCardinality(String) COMMENT 'browser, browser_version, system, device and bot' CODEC(ZSTD(1)) AFTER _source,
    ADD COLUMN IF NOT EXISTS _place LowCardinality(String) COMMENT 'country, region and city' CODEC(ZSTD(1)) AFTER _agent;

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS channel LowCardinality(String) ALIAS extract(_source, '^([^\t]*)') COMMENT 'How the visitor came: Direct, Organic Search and so on, as Google Analytics 4 defines them',
    ADD COLUMN IF NOT EXISTS source LowCardinality(String) ALIAS extract(_source, '^(?:[^\t]*\t){1}([^\t]*)') COMMENT 'Where the visitor came from: Google, or a host; empty: nowhere known',
    ADD COLUMN IF NOT EXISTS utm_source LowCardinality(String) ALIAS extract(_source, '^(?:[^\t]*\t){2}([^\t]*)') COMMENT 'utm_source of the campaign',
    ADD COLUMN IF NOT EXISTS utm_medium LowCardinality(String) ALIAS extract(_source, '^(?:[^\t]*\t){3}([^\t]*)') COMMENT 'utm_medium of the campaign',
    ADD COLUMN IF NOT EXISTS utm_campaign LowCardinality(String) ALIAS extract(_source, '^(?:[^\t]*\t){4}([^\t]*)') COMMENT 'utm_campaign of the campaign',
    ADD COLUMN IF NOT EXISTS utm_term LowCardinality(String) ALIAS extract(_source, '^(?:[^\t]*\t){5}([^\t]*)') COMMENT 'utm_term of the campaign',
    ADD COLUMN IF NOT EXISTS utm_content LowCardinality(String) ALIAS extract(_source, '^(?:[^\t]*\t){6}([^\t]*)') COMMENT 'utm_content of the campaign',
    ADD COLUMN IF NOT EXISTS browser LowCardinality(String) ALIAS extract(_agent, '^([^\t]*)') COMMENT 'Browser; empty: not known',
    ADD COLUMN IF NOT EXISTS browser_version LowCardinality(String) ALIAS extract(_agent, '^(?:[^\t]*\t){1}([^\t]*)') COMMENT 'Its major version',
    ADD COLUMN IF NOT EXISTS system LowCardinality(String) ALIAS extract(_agent, '^(?:[^\t]*\t){2}([^\t]*)') COMMENT 'Operating system; empty: not known',
    ADD COLUMN IF NOT EXISTS device LowCardinality(String) ALIAS extract(_agent, '^(?:[^\t]*\t){3}([^\t]*)') COMMENT 'desktop, mobile, tablet, tv, console, wearable or other; empty: not known',
    ADD COLUMN IF NOT EXISTS bot LowCardinality(String) ALIAS extract(_agent, '^(?:[^\t]*\t){4}([^\t]*)') COMMENT 'Name of the bot; empty: a person',
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) ALIAS extract(_place, '^([^\t]*)') COMMENT 'Country by ISO 3166-1, DE for instance; empty: not known',
    ADD COLUMN IF NOT EXISTS region LowCardinality(String) ALIAS extract(_place, '^(?:[^\t]*\t){1}([^\t]*)') COMMENT 'Region, by ISO 3166-2 where it has a code',
    ADD COLUMN IF NOT EXISTS city LowCardinality(String) ALIAS extract(_place, '^(?:[^\t]*\t){2}([^\t]*)') COMMENT 'City'
