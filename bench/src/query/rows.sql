-- Numbered events, each a function of its number: the same number is the same event.
--
-- Time grows with the number, as offsets grow with time in Kafka. Two sine waves bend it: over the
-- week, so that its middle is busier than its end, and over the day, so that afternoons are busier
-- than nights. Sites, paths and referrers are Zipf: a rank drawn as exp(u * ln(n + 1)) is k with a
-- probability in proportion to ln((k + 1) / k). A site's users come from a window of ids that moves
-- on by a few every day; low ids within it are drawn more often, so some come daily and most rarely.
-- Browser, place, language and screen are a user's, and stay with him: some 500 agents and 2,000
-- places, Zipf too.
INSERT INTO events
    (site_id, event_type, path, user_id, timestamp, referrer, props, hostname, language, screen, _source, _agent, _place, _id_delta, _id_low, _lag_ms, _partition, _offset, _index)
SETTINGS insert_deduplicate = 0, max_insert_threads = 1, max_partitions_per_insert_block = 100
WITH
    number AS n,
    -- A uniform draw in [0, 1) for each purpose.
    (x -> (bitAnd(cityHash64(x, n, {seed:UInt64}), 9007199254740991) / 9007199254740992)) AS draw,
    {days:Float64} * ({first_position:Float64} + (n - {first:UInt64}) * {step:Float64}) AS even,
    even - 0.35 * 7 / (2 * pi()) * (sin(2 * pi() * (even / 7 - 0.36)) + sin(2 * pi() * 0.36)) AS weekly,
    weekly - floor(weekly) AS hour,
    floor(weekly) + hour - 0.6 / (2 * pi()) * (sin(2 * pi() * (hour - 0.6)) + sin(2 * pi() * 0.6)) AS day,
    toUInt16(floor(exp(draw('site') * ln({sites:UInt16} + 1)))) AS site,
    -- Events of this site on one day.
    {rows_per_day:Float64} * ln((site + 1) / site) / ln({sites:UInt16} + 1) AS site_per_day,
    toUInt64(floor(exp(draw('path') * ln({paths:UInt16} + 1)))) AS path_rank,
    toUInt64(day * site_per_day * 0.1 + pow(draw('user'), 2) * (1 + 3 * site_per_day)) AS user,
    draw('type') AS type,
    draw('referrer') AS referred,
    toUInt64(floor(exp((referred - 0.6) / 0.4 * ln(301)))) AS referrer_rank,
    -- The same for what a user has.
    (x -> (bitAnd(cityHash64(x, site, user, {seed:UInt64}), 9007199254740991) / 9007199254740992)) AS draw_of_user,
    toUInt16(floor(exp(draw_of_user('agent') * ln(501)))) AS agent_rank,
    [('Chrome', 'Windows', 'desktop'), ('Chrome Mobile', 'Android', 'mobile'), ('Mobile Safari', 'iOS', 'mobile'), ('Edge', 'Windows', 'desktop'), ('Safari', 'Mac OS X', 'desktop'), ('Firefox', 'Windows', 'desktop'), ('Samsung Internet', 'Android', 'mobile'), ('Chrome', 'Mac OS X', 'desktop'), ('Firefox', 'Linux', 'desktop'), ('Mobile Safari', 'iOS', 'tablet')][1 + agent_rank % 10] AS agent,
    ['Googlebot', 'bingbot', 'GPTBot', 'AhrefsBot', 'SemrushBot', 'YandexBot', 'Applebot', 'UptimeRobot'] AS bots,
    toUInt16(floor(exp(draw_of_user('place') * ln(2001)))) AS place_rank,
    ['US', 'DE', 'GB', 'FR', 'IN', 'BR', 'JP', 'CA', 'NL', 'ES', 'IT', 'PL', 'SE', 'CH', 'AT', 'AU', 'MX', 'TR', 'KR', 'ID'][1 + place_rank % 20] AS country,
    ['en-US', 'de', 'en-GB', 'fr', 'es', 'pt-BR', 'ja', 'en', 'nl', 'it', 'pl', 'zh-CN'] AS languages,
    ['small', 'wide', 'large', 'medium'] AS screens,
    cityHash64('id', n, {seed:UInt64}) AS id
SELECT
    concat('site-', leftPad(toString(site), 2, '0')) AS site_id,
    multiIf(type < 0.9, 'page_view', type < 0.97, 'click', type < 0.99, 'signup', 'purchase') AS event_type,
    concat('/', ['blog', 'docs', 'shop', 'help'][1 + path_rank % 4], '/page-', toString(path_rank)) AS path,
    if(draw('anonymous') < 0.05, '', lower(hex(cityHash64(site, user)))) AS user_id,
    fromUnixTimestamp64Milli(toInt64({start_ms:Int64} + 86400000 * day), 'UTC') AS timestamp,
    if(referred < 0.6, '', concat('https://www.source-', toString(referrer_rank), '.example/')) AS referrer,
    CAST(if(id % 10 = 0, [('campaign', concat('c', toString(id % 7)))], []), 'Map(LowCardinality(String), String)') AS props,
    if(id % 16 = 0, 'shop.example.com', 'www.example.com') AS hostname,
    languages[toUInt8(floor(exp(draw_of_user('language') * ln(13))))] AS language,
    screens[1 + toUInt8(draw_of_user('screen') * 4)] AS screen,
    -- Channel, source and the five of a campaign: a tenth of all come by one.
    multiIf(
        id % 10 = 0, concat('Paid Search\tGoogle\tgoogle\tcpc\tc', toString(id % 7), '\tterm-', toString(bitShiftRight(id, 8) % 20), '\tad-', toString(bitShiftRight(id, 16) % 3)),
        referred < 0.6, 'Direct\t\t\t\t\t\t',
        concat(['Referral', 'Organic Search', 'Organic Social'][1 + referrer_rank % 3], '\tsource-', toString(referrer_rank), '.example\t\t\t\t\t')
    ) AS _source,
    -- Browser, its version, system, device and bot: every twentieth event is a bot's.
    if(draw('bot') < 0.05, concat('\t\t\t\t', bots[1 + id % 8]), concat(agent.1, '\t', toString(140 - intDiv(agent_rank, 10)), '\t', agent.2, '\t', agent.3, '\t')) AS _agent,
    concat(country, '\t', country, '-', toString(place_rank % 80), '\tCity ', toString(place_rank)) AS _place,
    bitAnd(intHash64(n), 4095) AS _id_delta,
    bitOr(bitAnd(id, 4611686018427387903), 9223372036854775808) AS _id_low,
    20 + bitAnd(bitShiftRight(id, 20), 255) AS _lag_ms,
    -- Records of a hundred events each, over eight partitions in turn.
    intDiv(n, 100) % 8 AS _partition,
    intDiv(n, 800) AS _offset,
    n % 100 AS _index
FROM numbers({first:UInt64}, {count:UInt64})
