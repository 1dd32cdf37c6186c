/** A property's value. */
export type Value = string | number | boolean | null;

export interface Options {
  /** Whose traffic it is: the `site_id` of all events. */
  site: string;
  /** Where events go: weir's `/event`, or the address that it serves the script at. */
  api: string;
  /** The site's public write key, where weir asks for one. */
  key?: string;
  /** The id of the person who is signed in. */
  user?: string;
  /** Whether the fragment is part of the page's address, as with hash routers. */
  hash?: boolean;
  /** Whether links to other sites count, as `outbound`. */
  outbound?: boolean;
  /** Whether links to files count, as `downloads`. */
  downloads?: boolean;
  /** Whether this page says that there is none: its first view counts as `404`. */
  notFound?: boolean;
  /** Whether nobody is counted who asks for it by Do Not Track or Global Privacy Control. */
  dnt?: boolean;
}

export interface Weir {
  /** Sends an event of this type. */
  (type: string, props?: Record<string, Value>): void;
  /** Names the person for all events that follow; null: nobody is signed in. */
  identify(id: string | number | null): void;
}

/**
 * Counts the page's view, and every one that follows in the same document. A second call changes
 * nothing and returns what the first one did.
 */
export function start(options: Options): Weir;
