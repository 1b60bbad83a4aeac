-- begin_unique.lua: a unique job begins, unless another one has replaced it.
-- KEYS  1 consumers, 2 replaced jobs, 3 its lock
-- ARGV  1 job id, 2 "started" or "done": when the lock ends
-- Atomic: once a job has begun, no other one can replace it. Returns '' if the job may begin, else the id of the lock's
-- present holder, or "?" if nobody holds the lock.
local holder = redis.call('HGET', KEYS[3], 'id')
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return holder or '?' end
if holder ~= ARGV[1] then return '' end
go_on_when_full(KEYS[1])
if ARGV[2] == 'started' then
  redis.call('DEL', KEYS[3])
else
  redis.call('HSET', KEYS[3], 'started', string.format('%.6f', now()))
end
return ''
