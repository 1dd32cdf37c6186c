// The worker: one job, one INSERT, ten at a time.

import { Worker } from 'bullmq';
import pg from 'pg';

import { QUEUE, redis } from './places.js';

const CONCURRENCY = 10;
const pool = new pg.Pool({ max: CONCURRENCY });

// Named, so that each connection prepares it once.
const insert = {
  name: 'insert-event',
  text: 'INSERT INTO events (site_id, event_type, path, user_id, timestamp) VALUES ($1, $2, $3, $4, $5)',
};

async function store({ data: { site_id, event_type, path, user_id, timestamp } }) {
  await pool.query({ ...insert, values: [site_id, event_type, path, user_id, timestamp] });
}

const worker = new Worker(QUEUE, store, { connection: redis, concurrency: CONCURRENCY });
worker.on('failed', (job, error) => console.error(`job ${job?.id} failed: ${error.message}`));
worker.on('error', (error) => console.error(error));
