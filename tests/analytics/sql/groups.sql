-- Each group as its stream tells it: name, events, messages, bytes of text, members, first and last message.
-- One row a group. `events` equals the API's head_seq, `members` its member_count.
SELECT
  group_id,
  arg_max(name, seq) FILTER (name IS NOT NULL)                  AS name,
  max(seq)                                                      AS events,
  count(*) FILTER (type = 'parley.events.v1.MessageSent')       AS messages,
  coalesce(sum(size_bytes), 0)::BIGINT                          AS text_bytes,
  arg_max(member_count, seq) FILTER (member_count IS NOT NULL)  AS members,
  min("at") FILTER (type = 'parley.events.v1.MessageSent')      AS first_message_at,
  max("at") FILTER (type = 'parley.events.v1.MessageSent')      AS last_message_at
FROM read_parquet('events/*/*.parquet', hive_partitioning = true)
GROUP BY group_id
ORDER BY messages DESC, group_id;
