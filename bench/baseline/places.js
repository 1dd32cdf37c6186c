// Where Redis and PostgreSQL are. pg reads PGHOST and the like by itself.

export const QUEUE = 'events';

export const redis = {
  host: '127.0.0.1',
  port: Number(process.env.REDIS_PORT ?? 6379),
  password: process.env.REDIS_PASSWORD,
  // BullMQ's worker asks for this: a blocked command is waited for.
  maxRetriesPerRequest: null,
};
