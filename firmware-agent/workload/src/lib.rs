//! Who is calling, by what the kernel says, as selectors.
