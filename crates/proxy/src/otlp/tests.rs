//! The loop over a world of its own: time is a number that a test moves, the receiver a script.


