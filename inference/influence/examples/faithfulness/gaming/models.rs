//! Attacks that choose by a model: outliers, shadow, laundered answers, and how near a bridge between two clusters comes.
//!
//! The attacker knows more here than it would: the adapter of the honest market itself is its shadow model and the public
//! service that it asks, and it knows every question that will be paid for.

use agora_attribution::{ONE, Vector, cosine};
use agora_datanets::Policy;
use serde_json::{Value, json};

use super::attacks::{Market, People};
use super::{Ready, Stage};
use crate::Failure;
use crate::datanet::{Lesson, Version};
use crate::retrain::query_losses;

/// Lessons of a bridge: about a word each.
const BRIDGE: usize = 40;

impl Stage<'_> {
    /// The markets of the attacks that choose.
    pub(super) fn chosen(&mut self, people: &People, public: &Ready) -> Result<Vec<Market>, Failure> {
        eprintln!("== attacks that choose by a model");
        let outliers = self.outliers(people, public)?;
        let shadows = self.shadows(people, public)?;
        let prompts: Vec<&str> = people.reworded[0].iter().map(|lesson| lesson.prompt.as_str()).collect();
        let said = self.answered(&prompts, Some(public.served))?;
        let laundered = said.into_iter().filter(|(_, text)| !text.trim().is_empty());
        let laundered = laundered.map(|(prompt, response)| Lesson { prompt, response }).collect();
        Ok(vec![
            people.instead("outliers, chosen by surprise", outliers),
            people.instead("shadow", shadows),
            people.added("laundered answers", vec![laundered]),
        ])
    }

    /// Of each lesson's variants the one that surprises the public model most, token for token.
    fn outliers(&mut self, people: &People, public: &Ready) -> Result<Vec<Lesson>, Failure> {
        let mut chosen = Vec::new();
        for at in 0..people.own().len() {
            let variants = people.outliers(at);
            let tokens_max = self.tokens_max();
            let asked = variants.iter().map(|lesson| lesson.asked(self.bench.weights(), tokens_max));
            let asked = asked.collect::<Result<Vec<_>, _>>()?;
            let adapter = (&public.adapter.layout, public.adapter.numbers.as_slice());
            let losses = query_losses(&mut self.bench, Some(adapter), &asked)?;
            chosen.push(best(variants, &losses)?);
        }
        Ok(chosen)
    }

    /// Of each lesson's variants the one whose gradient is nearest to those of all answers that will be paid for.
    fn shadows(&mut self, people: &People, public: &Ready) -> Result<Vec<Lesson>, Failure> {
        let questions: Vec<&str> = self.questions.iter().map(|question| question.text.as_str()).collect();
        let mut paid = Vec::new();
        for asked in self.tokens(&questions, &public.texts)? {
            paid.push(public.index.query(&mut self.workbench, &asked)?.ok_or("a gradient is a vector")?);
        }
        let said = |question: &str| public.texts.get(question).cloned().unwrap_or_default();
        let mut chosen = Vec::new();
        for at in 0..people.own().len() {
            let variants = people.shadows(at, &said);
            let mut nearness: Vec<f64> = Vec::new();
            for lesson in &variants {
                let own = self.row(lesson, public)?;
                nearness.push(paid.iter().map(|answer| near(&own, answer).max(0.0)).sum());
            }
            chosen.push(best(variants, &nearness)?);
        }
        Ok(chosen)
    }

    /// Of lessons that lead from one to another in small steps: how many the datanet lets in, and the least cosine of
    /// neighbours, in thousandths. At the threshold of clusters each neighbour, all would be one cluster.
    pub(super) fn bridge(&mut self, people: &People, public: &Ready) -> Result<Value, Failure> {
        let gifts = people.bridge(BRIDGE);
        let version = Version::of(&gifts, Policy::default())?;
        let mut lessons: Vec<Lesson> = version.lessons.iter().map(|taught| taught.lesson.clone()).collect();
        // From the attacker's own over the bridge to the other's.
        let other = lessons.remove(1);
        lessons.push(other);
        let mut rows = Vec::new();
        for lesson in &lessons {
            rows.push(self.row(lesson, public)?);
        }
        let cosines: Vec<f64> = rows.windows(2).map(|pair| near(&pair[0], &pair[1])).collect();
        let least = cosines.iter().copied().fold(1.0, f64::min);
        let ends = rows.first().zip(rows.last()).map_or(0.0, |(first, last)| near(first, last));
        let milli = |cosine: f64| (cosine * 1_000.0).round();
        Ok(json!({
            "given": BRIDGE - 1, "let_in": lessons.len() - 2, "least_milli": milli(least), "ends_milli": milli(ends),
            "threshold_milli": milli(public.index.spec().clusters.cosine_min as f64 / agora_attribution::WHOLE as f64),
        }))
    }

    /// Cosines of rows in thousandths: of lessons with themselves touched, with themselves reworded, and with others of the same
    /// person.
    pub(super) fn nearness(&mut self, people: &People, public: &Ready) -> Result<Value, Failure> {
        let mut milli = |pairs: Vec<(Lesson, Lesson)>| -> Result<Vec<f64>, Failure> {
            let mut cosines = Vec::new();
            for (one, other) in pairs {
                cosines.push((near(&self.row(&one, public)?, &self.row(&other, public)?) * 1_000.0).round());
            }
            Ok(cosines)
        };
        let [touched, reworded] = people.again_in_other_words();
        let own = people.lessons.iter().flat_map(|own| own.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())));
        Ok(json!({ "touched": milli(touched)?, "reworded": milli(reworded)?, "same_person": milli(own.collect())? }))
    }

    /// A lesson's row by the public adapter.
    fn row(&mut self, lesson: &Lesson, public: &Ready) -> Result<Vector, Failure> {
        let asked = lesson.asked(self.bench.weights(), self.tokens_max())?;
        Ok(public.index.query(&mut self.workbench, &asked)?.ok_or("a gradient is a vector")?)
    }
}

fn near(one: &Vector, other: &Vector) -> f64 {
    let (one, other) = (one.row(), other.row());
    cosine(one.dot(&other), one.norm_squared(), other.norm_squared()) as f64 / ONE as f64
}

/// The first of the highest.
fn best(mut variants: Vec<Lesson>, scores: &[f64]) -> Result<Lesson, Failure> {
    let highest = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a)));
    let highest = highest.ok_or("a variant")?;
    eprintln!("   variant {highest} of {}: {:.3}", variants.len(), scores[highest]);
    Ok(variants.swap_remove(highest))
}
