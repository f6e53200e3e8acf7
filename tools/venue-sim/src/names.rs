//! What one connection subscribed by name. Knows no protocol.

use crate::protocol::Route;
use crate::venue::Universe;

/// Subscriptions of one connection.
#[derive(Debug)]
pub(crate) struct Names {
    /// Names that were ever delivered under, by index.
    pub delivered_as: Vec<String>,
    /// Subscribed now, whether the source plays them or not, in the order of their requests.
    pub asked: Vec<String>,
    routes: Vec<Vec<Route>>,
}

impl Names {
    /// No subscription yet.
    pub fn new(universe: &Universe) -> Names {
        Names { delivered_as: Vec::new(), asked: Vec::new(), routes: vec![Vec::new(); universe.count()] }
    }

    /// Names subscribed now, whether the source plays them or not.
    pub fn count(&self) -> usize {
        self.asked.len()
    }

    /// True when the name is subscribed.
    pub fn has(&self, name: &str) -> bool {
        self.asked.iter().any(|have| have == name)
    }

    /// Subscribes a name; gives the source stream that is newly delivered. `serves`: whether a stream is delivered that is
    /// (or is not) the source's own of that name.
    pub fn add(&mut self, name: &str, universe: &Universe, serves: impl Fn(bool) -> bool) -> Option<u32> {
        if self.has(name) {
            return None;
        }
        self.asked.push(name.to_owned());
        let (stream, exact) = universe.resolve(name).filter(|(_, exact)| serves(*exact))?;
        let index = match self.delivered_as.iter().position(|have| have == name) {
            Some(index) => index,
            None => {
                self.delivered_as.push(name.to_owned());
                self.delivered_as.len() - 1
            }
        };
        if self.routes.len() <= stream as usize {
            self.routes.resize(stream as usize + 1, Vec::new());
        }
        self.routes.get_mut(stream as usize)?.push(Route { name: u32::try_from(index).ok()?, exact });
        Some(stream)
    }

    /// Unsubscribes a name; gives the source stream that is no longer delivered.
    pub fn remove(&mut self, name: &str) -> Option<u32> {
        self.asked.retain(|have| have != name);
        let index = u32::try_from(self.delivered_as.iter().position(|have| have == name)?).ok()?;
        let stream = self.routes.iter().position(|routes| routes.iter().any(|route| route.name == index))?;
        self.routes.get_mut(stream)?.retain(|route| route.name != index);
        u32::try_from(stream).ok()
    }

    /// True when at least one stream is delivered.
    pub fn delivers(&self) -> bool {
        self.routes.iter().any(|routes| !routes.is_empty())
    }

    /// Where frames of a source stream go.
    pub fn routes(&self, stream: u32) -> &[Route] {
        self.routes.get(stream as usize).map_or(&[], Vec::as_slice)
    }

    /// Source streams delivered now, once per subscribed name.
    pub fn delivered(&self) -> Vec<u32> {
        self.routes.iter().enumerate().flat_map(|(stream, routes)| routes.iter().map(move |_| stream as u32)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::StreamInfo;

    #[test]
    fn a_name_is_delivered_from_its_subscription_to_its_end() {
        let universe = Universe::new(["/market/match:A-B", "/market/level2:A-B"].map(StreamInfo::of).to_vec());
        let mut names = Names::new(&universe);
        assert_eq!(names.add("/market/level2:A-B", &universe, |exact| exact), Some(1));
        assert_eq!(names.add("/market/level2:A-B", &universe, |exact| exact), None, "twice is once");
        assert_eq!(names.add("/market/match:NO-NO", &universe, |exact| exact), None);
        assert_eq!((names.count(), names.delivered()), (2, vec![1]));
        assert_eq!(names.remove("/market/level2:A-B"), Some(1));
        assert_eq!((names.count(), names.delivers()), (1, false));
    }
}
