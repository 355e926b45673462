//! How packets of others come into the fabric and out of it.

use super::carrying::{Bearer, Departure};
use super::{Command, Fabric, Stopped};

impl Fabric {
    /// From now on this bearer takes the packets that arrive.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn bear(&self, bearer: Bearer) -> Result<(), Stopped> {
        let command = Command::Bear(bearer);
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// Carries a packet, or loses it as its path does.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn carry(&self, departure: Departure) -> Result<(), Stopped> {
        let command = Command::Carry(departure);
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}
