SELECT toUInt16(toDate({time})) AS day, count() AS found, '{unit}' = 'month' AS is_month FROM {table} GROUP BY day
