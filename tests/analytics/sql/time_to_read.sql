-- How long messages waited until a member had read them: median and 90th percentile by group, in seconds.
-- An entry of acks covers every seq in (read_before_seq, read_seq].
SELECT
  m.group_id,
  count(*)                                                                           AS readings,
  round(quantile_cont(epoch_ms(a."at") - epoch_ms(m."at"), 0.5) / 1000.0, 3)         AS median_s,
  round(quantile_cont(epoch_ms(a."at") - epoch_ms(m."at"), 0.9) / 1000.0, 3)         AS p90_s
FROM read_parquet('events/*/*.parquet', hive_partitioning = true) AS m
JOIN read_parquet('acks/*/*.parquet', hive_partitioning = true) AS a
  ON a.group_id = m.group_id AND m.seq > a.read_before_seq AND m.seq <= a.read_seq
WHERE m.type = 'parley.events.v1.MessageSent' AND a.user_id <> m.sender
GROUP BY m.group_id
ORDER BY readings DESC, m.group_id;
