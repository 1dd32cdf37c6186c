CREATE TABLE IF NOT EXISTS migrations
(
    version UInt32 COMMENT 'Number of the file',
    name String COMMENT 'What it brings',
    checksum String COMMENT 'SHA-256 of its text, in hex',
    applied_at DateTime('UTC') DEFAULT now() COMMENT 'When it was applied'
)
ENGINE = MergeTree
ORDER BY version
COMMENT 'Which migrations this database has seen'
