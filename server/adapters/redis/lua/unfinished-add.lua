-- Lists a session whose turn is about to begin.
-- KEYS[1]  sorted set: sessions with unfinished turns by when they were listed, microseconds since 1970
-- ARGV[2]  the session's id
-- Returns  when it was listed, as text
local at = string.format('%.0f', now_us())
redis.call('ZADD', KEYS[1], at, ARGV[2])
return at
