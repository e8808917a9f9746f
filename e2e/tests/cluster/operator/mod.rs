//! The promise of operator and agent as processes: on the real API server, with real boxes and devices on sockets, they keep their word when
//! leaders die, when what is stored makes no sense, when the API server is busy, when a token is stolen, when a device goes.

mod api_faults;
mod bad_input;
mod closing;
mod credentials;
mod deletion;
mod door;
mod enrolment;
mod first_lane;
mod first_pass;
mod fixture;
mod home;
mod keys;
mod lease;
mod metrics;
mod moving;
mod neighbours;
mod planned;
mod site;
mod suspension;

/// The longest first.
pub fn tests() -> Vec<crate::schedule::Test> {
    [
        api_faults::tests(),
        lease::tests(),
        planned::tests(),
        suspension::tests(),
        moving::tests(),
        neighbours::tests(),
        bad_input::tests(),
        closing::tests(),
        deletion::tests(),
        first_lane::tests(),
        first_pass::tests(),
        metrics::tests(),
        credentials::tests(),
        enrolment::tests(),
        keys::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
