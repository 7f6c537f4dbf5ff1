-- No rows: within each group `seq` is 1, 2, 3 … with no hole, and no event is there twice.
SELECT group_id, count(*) AS events, max(seq) AS head, count(DISTINCT event_id) AS ids
FROM read_parquet('events/*/*.parquet', hive_partitioning = true)
WHERE seq IS NOT NULL
GROUP BY group_id
HAVING count(*) <> max(seq) OR min(seq) <> 1 OR count(DISTINCT event_id) <> count(*);
