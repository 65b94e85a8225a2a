-- Holds seats of a user on, over the limit too: their turns run.
-- KEYS[1]  sorted set: seats by when they lapse, milliseconds since 1970
-- ARGV[2]  how long they are held, milliseconds
-- ARGV[3…] the seats' ids
-- Returns  nothing
local lapses = string.format('%.0f', now_ms() + tonumber(ARGV[2]))
for at = 3, #ARGV do
  redis.call('ZADD', KEYS[1], lapses, ARGV[at])
end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[2]))
return false
