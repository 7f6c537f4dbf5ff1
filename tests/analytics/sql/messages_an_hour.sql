-- Messages an hour a group. `date` is the directory's: with a condition on it, only the files of those days are read.
SELECT
  group_id,
  date_trunc('hour', "at" AT TIME ZONE 'UTC') AS hour,
  count(*)                                    AS messages,
  count(DISTINCT sender)                      AS senders
FROM read_parquet('events/*/*.parquet', hive_partitioning = true)
WHERE type = 'parley.events.v1.MessageSent'
  AND date BETWEEN DATE '1970-01-01' AND DATE '9999-12-31'
GROUP BY ALL
ORDER BY hour, messages DESC, group_id;
