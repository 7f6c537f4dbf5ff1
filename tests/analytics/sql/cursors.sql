-- Where each member's cursors stand: they only grow, so the maximum is right in any order and with any repeat.
-- Who joined and never acknowledged anything isn't here; its cursors stand at the event that added it.
SELECT
  group_id,
  user_id,
  max(delivered_seq) AS delivered_seq,
  max(read_seq)      AS read_seq,
  max("at")          AS updated_at
FROM read_parquet('acks/*/*.parquet', hive_partitioning = true)
GROUP BY ALL
ORDER BY group_id, user_id;
