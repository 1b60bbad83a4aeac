-- ring.lua: wake one waiting consumer.
-- KEYS  1 doorbell
ring(KEYS[1])
return 1
