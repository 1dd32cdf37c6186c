//! Browser, system, device and bots, by the user agent.
