//! Python's clickhouse-connect and pandas, in an environment of their own.
