INSERT INTO mends (id, at, until, dates, reason)
SELECT
    toUUID({id:String}),
    now64(3),
    now64(3) + toIntervalMillisecond({lease:UInt64}),
    arrayMap(day -> toDate(day), {days:Array(UInt16)}),
    {reason:String}
