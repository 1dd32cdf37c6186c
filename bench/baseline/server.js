// The API: events go into the queue, and 202 follows once Redis has the job; /stats asks PostgreSQL.

import express from 'express';
import { Queue } from 'bullmq';
import pg from 'pg';

import { parse } from './event.js';
import { QUEUE, redis } from './places.js';
import { stats } from './stats.js';

const BATCH_EVENTS_MAX = 1000;

const queue = new Queue(QUEUE, {
  connection: redis,
  defaultJobOptions: {
    attempts: 3,
    backoff: { type: 'exponential', delay: 1000 },
    // Redis keeps what failed, and not what is done.
    removeOnComplete: true,
    removeOnFail: 1000,
  },
});
const pool = new pg.Pool({ max: 10 });

const app = express();
// What Express does by default and nobody here needs costs each request some time.
app.disable('etag');
app.disable('x-powered-by');
app.use(express.json({ limit: '1mb' }));

app.post('/event', async (request, response) => {
  const { event, errors } = parse(request.body, Date.now());
  if (errors) {
    response.status(400).json({ success: false, status: 'error', errors });
    return;
  }
  await queue.add('event', event);
  response.status(202).json({ success: true, status: 'accepted', message: 'Event queued for processing' });
});

app.post('/events', async (request, response) => {
  const events = Array.isArray(request.body) ? request.body : request.body?.events;
  if (!Array.isArray(events) || events.length > BATCH_EVENTS_MAX) {
    const errors = [`a batch must be an array of at most ${BATCH_EVENTS_MAX} events`];
    response.status(400).json({ success: false, status: 'error', errors });
    return;
  }
  const now = Date.now();
  const jobs = [];
  const rejected = [];
  events.forEach((body, index) => {
    const { event, errors } = parse(body, now);
    if (errors) rejected.push({ index, errors });
    else jobs.push({ name: 'event', data: event });
  });
  await queue.addBulk(jobs);
  const success = jobs.length > 0;
  response.status(success ? 202 : 400).json({
    success,
    status: success ? 'accepted' : 'error',
    accepted: jobs.length,
    rejected,
  });
});

app.get('/stats', async (request, response) => {
  const { site_id: site, date } = request.query;
  if (typeof site !== 'string' || (date !== undefined && !/^\d{4}-\d\d-\d\d$/.test(date))) {
    const errors = ['site_id is required, and date must be YYYY-MM-DD'];
    response.status(400).json({ success: false, status: 'error', errors });
    return;
  }
  response.json(await stats(pool, site, date ?? null));
});

// Express passes a failed promise on to here.
app.use((error, request, response, next) => {
  if (response.headersSent) {
    next(error);
    return;
  }
  if (!error.status) console.error(error);
  const errors = [error.status ? error.message : 'the event could not be taken'];
  response.status(error.status ?? 503).json({ success: false, status: 'error', errors });
});

await queue.waitUntilReady();
const listener = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`the server listens on 127.0.0.1:${listener.address().port}`);
});
