"""What slim's classifiers and Keras Applications put out for one image, with one set of random weights; run by hand.

The figures of mappings/README.md come from here. Slim needs TensorFlow 1 and tf-slim 1.1, so there are two steps;
NETS_FOLDER has slim's `nets` in it, as in the source of tf-models-research-object-detection 2.8.0:

    python1.15 slim_logits.py slim   FOLDER NETS_FOLDER [NET]...
    python     slim_logits.py keras  FOLDER [NET]...

The second converts, sets the weights by name, and prints the largest difference of the logits, of the largest logit: as
Keras ships the model, and with the padding that the mapping's note names.
"""

import json
import os
import sys

import numpy as np

# net -> (slim's module and function, classes, size of the image, Keras' class)
NETS = {
    "mobilenet_v1": ("mobilenet_v1:mobilenet_v1", 1001, 224, "MobileNet"),
    "mobilenet_v2": ("mobilenet.mobilenet_v2:mobilenet", 1001, 224, "MobileNetV2"),
    "inception_v3": ("inception_v3:inception_v3", 1001, 299, "InceptionV3"),
    "inception_resnet_v2": ("inception_resnet_v2:inception_resnet_v2", 1001, 299, "InceptionResNetV2"),
    "vgg_16": ("vgg:vgg_16", 1000, 224, "VGG16"),
    "vgg_19": ("vgg:vgg_19", 1000, 224, "VGG19"),
    "resnet_v1_50": ("resnet_v1:resnet_v1_50", 1000, 224, "ResNet50"),
    "resnet_v1_101": ("resnet_v1:resnet_v1_101", 1000, 224, "ResNet101"),
    "resnet_v1_152": ("resnet_v1:resnet_v1_152", 1000, 224, "ResNet152"),
    "resnet_v2_50": ("resnet_v2:resnet_v2_50", 1001, 224, "ResNet50V2"),
    "resnet_v2_101": ("resnet_v2:resnet_v2_101", 1001, 224, "ResNet101V2"),
    "resnet_v2_152": ("resnet_v2:resnet_v2_152", 1001, 224, "ResNet152V2"),
}
SCOPES = {
    "mobilenet_v1": "mobilenet_v1_arg_scope",
    "mobilenet_v2": "training_scope",
    "inception_v3": "inception_v3_arg_scope",
    "inception_resnet_v2": "inception_resnet_v2_arg_scope",
    "vgg": "vgg_arg_scope",
    "resnet": "resnet_arg_scope",
}

# What the mappings' notes say of ResNets: layer -> attributes of its configuration.
AS_SLIM_PADS = {"pool1_pad": {"padding": ((0, 0), (0, 0))}, "pool1_pool": {"padding": "same"}}


def value(name, shape, random):
    """A weight that keeps activations in a healthy range, and statistics that are none of a new model's."""
    last = name.rsplit("/", 1)[-1]
    if last in ("weights", "depthwise_weights"):
        fan_in = int(np.prod(shape[:2] if last == "depthwise_weights" else shape[:-1]))
        return random.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
    centre = {"gamma": 1, "moving_variance": 1}.get(last, 0)
    return (centre + random.uniform(-0.2, 0.2, shape)).astype(np.float32)


def build(net, image):
    """Slim's graph of a net, for prediction; gives the logits."""
    import importlib

    import tf_slim

    place, classes, _, _ = NETS[net]
    module_name, _, function = place.partition(":")
    module = importlib.import_module("nets." + module_name)
    scope = next(s for prefix, s in SCOPES.items() if net.startswith(prefix))
    predicting = {"is_training": False}  # mobilenet_v2 takes it in its scope
    of_scope, of_net = (predicting, {}) if scope == "training_scope" else ({}, predicting)
    with tf_slim.arg_scope(getattr(module, scope)(**of_scope)):
        return getattr(module, function)(image, num_classes=classes, **of_net)[0]


def in_slim(net, folder):
    """Writes FOLDER/NET.ckpt, and the image and logits to FOLDER/NET.npz."""
    import tensorflow as tf

    size = NETS[net][2]
    image = np.random.RandomState(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        given = tf.placeholder(tf.float32, image.shape)
        logits = build(net, given)
        random = np.random.default_rng(1)
        for variable in tf.global_variables():
            variable.load(value(variable.op.name, variable.shape.as_list(), random), session)
        tf.train.Saver().save(session, f"{folder}/{net}.ckpt", write_meta_graph=False)
        np.savez(f"{folder}/{net}.npz", image=image, logits=session.run(logits, {given: image}).reshape(-1))


def in_keras(net, folder):
    """Converts FOLDER/NET.ckpt; gives the relative differences of the logits as shipped, and padded as slim does."""
    import tf_keras

    import ckptmigrate

    report = ckptmigrate.convert(
        f"{folder}/{net}.ckpt", f"{folder}/{net}.keras.npz", to="npz", mapping="auto", force=True
    )
    tf_keras.backend.clear_session()
    model = getattr(tf_keras.applications, NETS[net][3])(weights=None, classifier_activation=None)
    with np.load(f"{folder}/{net}.npz") as told, np.load(f"{folder}/{net}.keras.npz") as weights:
        image, logits = told["image"], told["logits"][NETS[net][1] - 1000 :]
        every = {v.name[:-2]: v for v in model.weights}
        assert report.verdict == "verified"
        assert every.keys() == set(weights.files) - {"__ckptmigrate__.json"}
        for name, variable in every.items():
            variable.assign(weights[name])
    found = {"as shipped": apart(model, image, logits)}
    if net.startswith("resnet"):
        found["padded as slim does"] = apart(padded(model), image, logits)
    return found


def padded(model):
    """The model with slim's padding."""
    config = model.get_config()
    for layer in config["layers"]:
        layer["config"].update(AS_SLIM_PADS.get(layer["name"], {}))
    other = type(model).from_config(config)
    other.set_weights(model.get_weights())
    return other


def apart(model, image, logits):
    return float(np.abs(model(image, training=False).numpy().reshape(-1) - logits).max() / np.abs(logits).max())


if __name__ == "__main__":
    os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"})
    step, folder, *nets = sys.argv[1:]
    if step == "slim":
        sys.path.insert(0, nets.pop(0))
    for net in nets or NETS:
        told = in_slim(net, folder) if step == "slim" else in_keras(net, folder)
        print(net, json.dumps(told), flush=True)
