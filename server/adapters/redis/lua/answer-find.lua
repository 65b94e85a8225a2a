-- Reads an answer that still counts.
-- KEYS[1]  hash: answers
-- KEYS[2]  sorted set: their fields by when the command was accepted, milliseconds since 1970
-- ARGV[2]  the field
-- ARGV[3]  how long an answer counts, milliseconds
-- Returns  its JSON, or nothing
local accepted = redis.call('ZSCORE', KEYS[2], ARGV[2])
if not accepted or tonumber(accepted) <= now_ms() - tonumber(ARGV[3]) then
  return false
end
return redis.call('HGET', KEYS[1], ARGV[2])
