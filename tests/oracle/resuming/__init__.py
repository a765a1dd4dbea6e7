"""Training that goes on in another dialect: state that is saved, converted, restored by the framework, trained on."""
