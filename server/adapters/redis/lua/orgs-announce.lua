-- Says that an organisation may have holds.
-- KEYS[1]  sorted set: organisations by when a node last said so, milliseconds since 1970
-- ARGV[2]  the organisation
-- Returns  nothing
-- Time is that of Redis: by a clock that is behind, the others would drop what was just announced.
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms()), ARGV[2])
return false
