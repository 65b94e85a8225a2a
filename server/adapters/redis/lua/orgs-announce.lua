-- Says that an organisation may have holds.
-- KEYS[1]  sorted set: organisations by when a node last said so, milliseconds since 1970
-- ARGV[2]  the organisation
-- Returns  nothing
-- Time is that of Redis, whatever ARGV[1] says: by a clock that is behind, the others would drop what was just
-- announced, and nodes announce again by the time that passes for them.
redis.call('ZADD', KEYS[1], redis.call('TIME')[1] .. '000', ARGV[2])
return false
