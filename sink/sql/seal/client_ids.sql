SELECT count()
FROM events
WHERE _id_origin = 'client'
    AND toDate(timestamp) BETWEEN toDate({first:UInt16}) AND toDate({last:UInt16})
