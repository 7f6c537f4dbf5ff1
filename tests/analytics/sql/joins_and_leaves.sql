-- Who came and went: one row a user and event that names it.
SELECT
  group_id,
  seq,
  "at",
  CASE type WHEN 'parley.events.v1.MembersRemoved' THEN 'leaves' ELSE 'joins' END AS kind,
  unnest(user_ids)                                                                AS user_id,
  actor
FROM read_parquet('events/*/*.parquet', hive_partitioning = true)
WHERE type IN
  ('parley.events.v1.GroupCreated', 'parley.events.v1.MembersAdded', 'parley.events.v1.MembersRemoved')
ORDER BY group_id, seq, user_id;
