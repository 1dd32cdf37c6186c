//! Country, region and city, by the address.
