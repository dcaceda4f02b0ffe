//! What Hallmark does not believe.
