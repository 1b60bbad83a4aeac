-- ring.lua: wake a consumer.
-- KEYS  1 doorbell
-- Atomic: a bell holds one ring at most.
ring(KEYS[1])
return 1
