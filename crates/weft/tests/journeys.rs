//! Journeys: what a user does, with the real executable, real processes and ports of their own. Each starts a system,
//! uses or breaks it, and sees that nothing of it survives.

#[cfg(test)]
mod journeys {
    //! Named after what a user does.

    mod break_it;
    mod broken_change;
    mod certificate;
    mod check;
    mod deny;
    mod examples;
    mod grpc;
    mod hello;
    mod identity;
    mod mine;
    mod protocols;
    mod reload;
    mod restart;
    mod see;
    mod terminal;

    /// The executable under test.
    const WEFT: &str = env!("CARGO_BIN_EXE_weft");

    /// One service behind one route for everything.
    const ONE: &str = "
system: one
services:
  one: { run: \"{service} one\", health: /healthz, protocol: http }
gateway:
  listen: \"{edge}\"
  auth: none
  routes:
    ANY /**: one
observe: { metrics: \"{metrics}\" }
";
}
