//! burn's own training loop over our loader.

mod common;

use std::sync::Arc;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::SgdConfig;
use burn::tensor::{Device, Int, Tensor};
use burn::train::metric::LossMetric;
use burn::train::{ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep};
use common::{loader, photo_recipe, photos};
use feedstock::Result;
use feedstock::data::batch::Batch;
use feedstock_burn::{BurnLoader, TakeTensor};

type Item = (Tensor<4>, Tensor<1, Int>);

fn item(mut batch: Batch, device: &Device) -> Result<Item> {
    Ok((batch.take_float("image", device)?, batch.take_int("label", device)?))
}

#[derive(Module, Debug)]
struct Model {
    linear: Linear,
}

impl Model {
    fn classify(&self, (images, labels): Item) -> ClassificationOutput {
        let output = self.linear.forward(images.flatten::<2>(1, 3));
        let loss = CrossEntropyLossConfig::new().init(&output.device()).forward(output.clone(), labels.clone());
        ClassificationOutput::new(loss, output, labels)
    }
}

impl TrainStep for Model {
    type Input = Item;
    type Output = ClassificationOutput;

    fn step(&self, item: Item) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(item);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Model {
    type Input = Item;
    type Output = ClassificationOutput;

    fn step(&self, item: Item) -> ClassificationOutput {
        self.classify(item)
    }
}

fn train(broken: bool) -> (Vec<f32>, Vec<f32>, Option<String>, Arc<feedstock::loader::Loader>) {
    let device = Device::flex();
    let training = loader(photos(broken), photo_recipe());
    let folder = tempfile::tempdir().unwrap();
    let model = Model { linear: LinearConfig::new(3 * 32 * 32, 3).init(&device.clone().autodiff()) };
    let weights = |model: &Model| model.linear.weight.val().into_data().try_to_vec::<f32>().unwrap();
    let before = weights(&model);
    let result = SupervisedTraining::new(
        folder.path(),
        Arc::new(BurnLoader::new(training.clone(), device.clone(), item)),
        Arc::new(BurnLoader::new(loader(photos(false), photo_recipe()), device.clone(), item)),
    )
    .metric_train_numeric(LossMetric::new())
    .with_application_logger(None)
    .num_epochs(2)
    .launch(Learner::new(model, SgdConfig::new().init(), 1e-3));
    let after = weights(&result.model);
    (before, after, result.error.map(|e| e.to_string()), training)
}

#[test]
fn the_learner_trains_on_it() {
    let (before, after, error, loader) = train(false);
    assert_eq!(error, None);
    assert_ne!(before, after);
    assert!(after.iter().all(|w| w.is_finite()));
    assert_eq!(loader.stats().batches, 2 * loader.len(), "two epochs");
}

#[test]
fn the_learner_stops_with_our_error() {
    let (_, _, error, _) = train(true);
    let error = error.expect("a broken photo ends the training");
    assert!(error.contains("photo-5"), "{error}");
}
