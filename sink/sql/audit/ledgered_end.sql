SELECT max(to_offset) FROM ledger WHERE _log = {log:UInt32} AND _partition = {partition:UInt16}
