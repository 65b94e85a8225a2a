-- Removes the oldest events of a session that a checkpoint covers, a slice at a time.
-- KEYS[1]  hash: the session
-- KEYS[2]  stream: its events, each under its seq
-- ARGV[2]  events written before this are removed, milliseconds since 1970
-- ARGV[3]  how many to look at
-- Returns  1 where there may be more, else 0
local kept = redis.call('HMGET', KEYS[1], 'created', 'checkpoint_seq')
if not kept[1] or not kept[2] then
  return 0
end
local entries = redis.call('XRANGE', KEYS[2], '-', kept[2] .. '-0', 'COUNT', ARGV[3])
local floor
for _, entry in ipairs(entries) do
  -- t, type, u, turn, a, when it was written, …
  if tonumber(entry[2][6]) >= tonumber(ARGV[2]) then
    entries = {}
    break
  end
  floor = string.match(entry[1], '^%d+')
end
if not floor then
  return 0
end
redis.call('HSET', KEYS[1], 'floor', floor)
redis.call('XTRIM', KEYS[2], 'MINID', floor .. '-1')
return #entries == tonumber(ARGV[3]) and 1 or 0
