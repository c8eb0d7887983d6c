"""What careless users type, and what they are told."""

import os
import re
from datetime import datetime
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from convgrid.config import Composer, check, command, files, grids, register_experiments
from convgrid.config.composer import find_options
from convgrid.config.overrides import quoted
from convgrid.errors import ConvgridError

OPTIMIZERS = "Options: adadelta, adagrad, adam, adamax, nadam, rmsprop, sgd."
NUMBERS = "mean_squared_error, mean_absolute_error, logcosh"
FOR_NUMBERS = f"{NUMBERS}, mean_absolute_percentage_error, poisson, mean_squared_logarithmic_error, cosine_proximity"
FOR_CLASSES = (
    f"{NUMBERS}, hinge, squared_hinge, categorical_hinge, categorical_crossentropy, sparse_categorical_crossentropy, "
    "kullback_leibler_divergence, binary_crossentropy, cosine_proximity"
)

RUNS = "it runs what it names. Put it in the file of an option of yours, in a --config-dir."
TOO_MANY = (
    "has more than 10,000 values. Give a larger step, or draw from them: "
    "arch.n=interval(start,end) sweep=random sweep.max_trials=100."
)
YEAR = datetime.now().year

TOLD = {
    # groups and options
    "optimzer=sgd": "optimzer is not a key. Did you mean optimizer?",
    "optimizer=sdg": f"optimizer=sdg is not an option of optimizer. Did you mean sgd? {OPTIMIZERS}",
    "optimizer=Adam": f"optimizer=Adam is not an option of optimizer. Did you mean adam? {OPTIMIZERS}",
    "optimizer=": f"optimizer= is not an option of optimizer. {OPTIMIZERS}",
    "optimizer=null": f"optimizer=null is not an option of optimizer. {OPTIMIZERS}",
    "optimizer=[sgd,adam]": f"optimizer=[sgd,adam] is not an option of optimizer. {OPTIMIZERS}",
    "optimizer=[[]]": f"optimizer=[[]] is not an option of optimizer. {OPTIMIZERS}",
    "optimizer=[1]": f"optimizer=[1] is not an option of optimizer. {OPTIMIZERS}",
    "optimizer=${loss}": f"optimizer=${{loss}} is not an option of optimizer. {OPTIMIZERS}",
    "optimizer@mine=sgd": "optimizer@mine=sgd is not allowed: every group has its place. Leave out @mine.",
    "loss=mse": (
        "loss=mse is not an option of loss. Did you mean mean_squared_error? "
        "Options: binary_crossentropy, categorical_crossentropy, categorical_hinge, cosine_proximity, hinge, "
        "kullback_leibler_divergence, logcosh, mean_absolute_error, mean_absolute_percentage_error, "
        "mean_squared_error, mean_squared_logarithmic_error, poisson, sparse_categorical_crossentropy, squared_hinge."
    ),
    "layer/pool=nonne": (
        "layer/pool=nonne is not an option of layer/pool. Did you mean none? Options: average, l2, max, none."
    ),
    "layer.pool=none": "layer.pool=none is not allowed: layer.pool is a group. Did you mean layer/pool=none?",
    "layer=conv": (
        "layer=conv is not allowed: layer is not a key but holds layer.conv, layer.pool, layer.norm, layer.dropout."
    ),
    "+optimizer=sgd": "+optimizer=sgd: optimizer has an option already. Leave out the +.",
    "++optimizer=sgd": "++optimizer=sgd: optimizer has an option already. Leave out the +.",
    "~optimizer": "~optimizer is not allowed: every group is needed. Choose another option instead.",
    "~optimizer=adam": "~optimizer=adam is not allowed: every group is needed. Choose another option instead.",
    # what would run what it names
    "optimizer._target_=os.system": "optimizer._target_=os.system is not allowed: " + RUNS,
    "+optimizer._target_=os.system": "optimizer._target_=os.system is not allowed: " + RUNS,
    "optimizer={_target_:os.system}": "optimizer._target_=os.system is not allowed: " + RUNS,
    "layer.pool._target_=true": "layer.pool._target_=true is not allowed: " + RUNS,
    "data._target_=${oc.env:HOME}": "data._target_=${oc.env:HOME} is not allowed: " + RUNS,
    "-m hydra.sweeper._target_=os.system": "hydra.sweeper._target_=os.system is not allowed: " + RUNS,
    # values without end
    "-m arch.n=range(1,1e7)": "arch.n=range(1,1e7) " + TOO_MANY,
    "-m arch.n=shuffle(range(1,inf))": "arch.n=shuffle(range(1,inf)) " + TOO_MANY,
    "-m arch.n=range(1,3,0)": "arch.n=range(1,3,0) cannot be counted: its ends are numbers, and its step is not 0.",
    "-m arch.n=range(0,nan)": "arch.n=range(0,nan) cannot be counted: its ends are numbers, and its step is not 0.",
    f"seed={'9' * 5000}": (
        f"seed={'9' * 195} ... (5,005 characters) cannot be parsed. "
        """Check its quotes and brackets, or give a text as "seed='...'"."""
    ),
    # what is in no place
    "data.shape.0=3": "data.shape.0 is not a key of data=digits. Did you mean data.shape?",
    "-m sweep.zip={a:1}": "sweep.zip.a is not a key of sweep=grid. Did you mean sweep.zip?",
    "-m sweep.folds=${now:%Y}": f"sweep.folds=${{now:%Y}} is {YEAR}, but must be a whole number or null.",
    "-m hydra.sweeper.params=3": "hydra.sweeper.params=3 must hold overrides, such as {arch.n: '1,2'}.",
    # keys
    "optimizer.lrr=1": "optimizer.lrr is not a key of optimizer=adam. Did you mean optimizer.lr?",
    "+optimizer.lrr=1": "optimizer.lrr is not a key of optimizer=adam. Did you mean optimizer.lr?",
    "++optimizer.lrr=1": "optimizer.lrr is not a key of optimizer=adam. Did you mean optimizer.lr?",
    "optimizer.momentun=1": (
        "optimizer.momentun is not a key of optimizer=adam. Its keys: optimizer.lr, optimizer.betas, optimizer.eps, "
        "optimizer.amsgrad, optimizer.weight_decay."
    ),
    "optimizer.momentum=0.9": (
        "optimizer.momentum is not a key of optimizer=adam, but of optimizer=rmsprop and sgd. "
        "Use one of them, or leave it out."
    ),
    "data.path=my.npz": "data.path is not a key of data=digits, but of data=arrays. Use data=arrays, or leave it out.",
    "tracking=none tracking.uri=x": (
        "tracking.uri is not a key of tracking=none, but of tracking=mlflow. Use tracking=mlflow, or leave it out."
    ),
    "optimizer.lr.x=1": "optimizer.lr.x is not a key of optimizer=adam. Did you mean optimizer.lr?",
    "optimizer/lr=1": "optimizer/lr is not a key. Did you mean optimizer.lr?",
    "layer/conv/kernel_size=3": "layer/conv/kernel_size is not a key. Did you mean layer.conv.kernel_size?",
    "layer.conv.kernel=3": "layer.conv.kernel is not a key of layer/conv=conv. Did you mean layer.conv.kernel_size?",
    "lr=1": "lr is not a key. Did you mean optimizer.lr?",
    "batch_size=1": "batch_size is not a key. Did you mean data.batch_size?",
    "sed=1": "sed is not a key. Did you mean seed?",
    "foo=1": "foo is not a key. python run.py --help lists all keys.",
    "+foo=1": "foo is not a key. python run.py --help lists all keys.",
    "~foo": "foo is not a key. python run.py --help lists all keys.",
    "~seed": "~seed is not allowed: every key is needed. Set another value instead.",
    "+seed=1": "+seed=1: seed is a key already. Leave out the +.",
    "optimizer={lrr:1}": "optimizer.lrr is not a key of optimizer=adam. Did you mean optimizer.lr?",
    # what cannot be parsed
    "foo": "foo cannot be parsed: an override is key=value or group=option.",
    "=1": "=1 cannot be parsed: an override is key=value or group=option.",
    "ünï=1": "ünï=1 cannot be parsed: an override is key=value or group=option.",
    "seed=(1": """seed=(1 cannot be parsed. Check its quotes and brackets, or give a text as "seed='...'".""",
    "seed=ünï": """seed=ünï cannot be parsed. Check its quotes and brackets, or give a text as "seed='...'".""",
    # types
    "arch.m=abc": "arch.m=abc must be a whole number, as its default 2.",
    "arch.m=": "arch.m= must be a whole number, as its default 2.",
    "arch.m=null": "arch.m=null must be a whole number, as its default 2.",
    "arch.m=1.0": "arch.m=1.0 must be a whole number, as its default 2.",
    "arch.m=true": "arch.m=true must be a whole number, as its default 2.",
    "arch.m='1'": "arch.m='1' must be a whole number, as its default 2.",
    "arch.m=[1,2]": "arch.m=[1,2] must be a whole number, as its default 2.",
    "arch={m:abc}": "arch.m=abc must be a whole number, as its default 2.",
    "seed=1e3": "seed=1e3 must be a whole number, as its default 0.",
    "seed=9223372036854775808": "seed=9223372036854775808 is too large: whole numbers end at 2**63.",
    "optimizer.lr=abc": "optimizer.lr=abc must be a number, as its default 0.001.",
    "optimizer.lr=nan": "optimizer.lr=nan must be a finite number.",
    "optimizer.lr=1e999": "optimizer.lr=1e999 must be a finite number.",
    "optimizer.betas=0.9": "optimizer.betas=0.9 must be a list of numbers, as its default [0.9,0.999].",
    "optimizer.betas=[0.9,a]": "optimizer.betas=[0.9,a] must be a list of numbers, as its default [0.9,0.999].",
    "optimizer.betas=[0.9,inf]": "optimizer.betas=[0.9,inf] must be a finite number.",
    "data.shape=[1,8,8.0]": "data.shape=[1,8,8.0] must be a list of whole numbers, as its default [1,8,8].",
    "dry_run=yes": "dry_run=yes must be true or false, as its default false.",
    "dry_run=1": "dry_run=1 must be true or false, as its default false.",
    "arch.pattern=null": "arch.pattern=null must be a text.",
    "objective=val/loss": (
        "objective=val/loss is not allowed: objective is not a key but holds objective.metric, objective.mode."
    ),
    "data=arrays data.num_classes=abc": "data.num_classes=abc must be a whole number or null.",
    "data=image_folder data.workers=many": "data.workers=many must be a whole number or null.",
    # interpolations
    "arch.m=${nothing}": "arch.m=${nothing}: Interpolation key 'nothing' not found.",
    "arch.m=${arch.init}": "arch.m=${arch.init} is glorot_uniform, but must be a whole number, as its default 2.",
    "arch.m=${oc.env:NO_SUCH_VARIABLE}": (
        "arch.m=${oc.env:NO_SUCH_VARIABLE}: KeyError raised while resolving interpolation: "
        "\"Environment variable 'NO_SUCH_VARIABLE' not found\"."
    ),
    # sweeps
    "arch.m=1,2": "arch.m=1,2 has several values. Add -m to sweep over them.",
    "optimizer=sgd,adam": "optimizer=sgd,adam has several values. Add -m to sweep over them.",
    "optimizer=sgd,adam optimizer.momentum=0.9": ("optimizer=sgd,adam has several values. Add -m to sweep over them."),
    "arch.m=range(1,3)": "arch.m=range(1,3) has several values. Add -m to sweep over them.",
    "data.shape=3,32,32": (
        "data.shape=3,32,32 has several values. Did you mean the list data.shape=[3,32,32]? Add -m to sweep over them."
    ),
    "-m arch.m=1,x": "arch.m=x must be a whole number, as its default 2.",
    "-m optimizer=sgd,adm": f"optimizer=adm is not an option of optimizer. Did you mean adam? {OPTIMIZERS}",
    "-m arch.m=interval(1,2)": (
        "arch.m=interval(1,2): an interval is for a search. "
        "Add sweep=optuna sweep.max_trials=30 (or sweep=random), or give values: range(start,stop,step)."
    ),
    "-m arch.m=glob(*)": "arch.m=glob(*) gives no value at all. Give it one, or leave it out.",
    "-m optimizer=glob(zz*)": "optimizer=glob(zz*) gives no value at all. Give it one, or leave it out.",
    "-m seed=range(3,1)": "seed=range(3,1) gives no value at all. Give it one, or leave it out.",
    "-m optimizer=sgd,adam optimizer.rho=0.9": (
        "optimizer.rho is not a key of optimizer=sgd, but of optimizer=adadelta. "
        "Use optimizer=adadelta, or leave it out."
    ),
    "-m dry_run=true,false": (
        "dry_run=true,false cannot be swept: dry_run concerns the whole sweep. Give it one value."
    ),
    "-m objective.metric=val/loss,val/accuracy": (
        "objective.metric=val/loss,val/accuracy cannot be swept: objective concerns the whole sweep. Give it one value."
    ),
    "-m arch.n=5,6 sweep.union=[['arch.n=1,2'],['arch.n=1','arch.m=1']]": (
        "arch.n=5,6 has no effect: every grid of sweep.union has its own arch.n. Leave out one of the two."
    ),
    "-m sweep=random sweep.max_trials=3 arch.filters=int(interval(1,10)),64": (
        "arch.filters=int(interval(1,10)),64: an interval stands alone. Leave out what is beside it."
    ),
    "-m sweep=random sweep.max_trials=3 arch.filters=interval(1,10)": (
        "arch.filters=interval(1,10) draws fractions, and arch.filters takes whole numbers. "
        "Use arch.filters=int(interval(1,10))."
    ),
    "-m sweep=grid,grid": "sweep=grid,grid cannot be swept: sweep concerns the whole sweep. Give it one value.",
    "-m sweep.seeds=x": "sweep.seeds=x must be a whole number, auto or null.",
    "-m sweep.union=[[a]]": (
        'sweep.union=[[a]] must be a list of lists of overrides, such as [["arch=linear"],["arch.n=1,2"]].'
    ),
    "sweep.seeds=3": "sweep.seeds=3 has no effect on a single training. Add -m to sweep, or leave it out.",
    "sweep=grid": "sweep=grid has no effect on a single training. Add -m to sweep, or leave it out.",
    "fold=[1]": "fold=[1] must be [number,of], such as [1,5] for the first of five.",
    "fold=[6,5]": "fold=[6,5] must be [number,of], such as [1,5] for the first of five.",
    "fold=[1,1]": "fold=[1,1] must be [number,of], such as [1,5] for the first of five.",
    "fold=[1.0,5]": "fold=[1.0,5] must be [number,of], such as [1,5] for the first of five.",
    "fold=1": "fold=1 must be a list or null.",
    # ranges and fits
    "seed=-1": "seed=-1 must be at least 0.",
    "data.batch_size=0": "data.batch_size=0 must be at least 1.",
    "trainer.max_epochs=0": "trainer.max_epochs=0 must be at least 1.",
    "layer/norm=batch layer.norm.momentum=2": "layer.norm.momentum=2 must be at most 1.",
    "layer/norm=local_response layer.norm.size=0": "layer.norm.size=0 must be at least 1.",
    "arch.init=he": "arch.init=he must be one of glorot_uniform, he_uniform, he_normal, normal, lecun_1998, torch.",
    "trainer.accelerator=tpu": "trainer.accelerator=tpu must be one of auto, cpu, gpu.",
    "imbalance.sampling=even": "imbalance.sampling=even must be one of shuffle, balanced.",
    "imbalance.class_weights=even": (
        "imbalance.class_weights=even must be none, balanced or a list of numbers, one a class."
    ),
    "imbalance.class_weights=[]": (
        "imbalance.class_weights=[] must be none, balanced or a list of numbers, one a class."
    ),
    "imbalance.class_weights=[1,x]": (
        "imbalance.class_weights=[1,x] must be none, balanced or a list of numbers, one a class."
    ),
    "imbalance.class_weights=[1,inf]": "imbalance.class_weights=[1,inf] must be a finite number.",
    "imbalance.class_weights=[1,2]": "imbalance.class_weights=[1,2] must be 10 numbers, one a class.",
    "data=digits_angle loss=poisson imbalance.class_weights=balanced": (
        "imbalance.class_weights=balanced does not fit a regression: it needs one class an image. Leave it out."
    ),
    "trainer.test_views=0": "trainer.test_views=0 must be at least 1.",
    "trainer.test_views=4": (
        "trainer.test_views=4 needs an augment, which makes the views. Add augment=cifar or another one."
    ),
    "objective.mode=best": "objective.mode=best must be one of auto, max, min.",
    "objective.metric=val/mae": (
        "objective.metric=val/mae is not a metric of this classification. "
        "Use one of val/accuracy, val/top5, val/f1, val/calibration_error, val/auroc, val/loss."
    ),
    "data=random data.num_classes=3 loss=hinge objective.metric=val/top5": (
        "objective.metric=val/top5 is not a metric of this classification: it is of 6 classes or more. "
        "Use one of val/accuracy, val/f1, val/auroc, val/loss."
    ),
    "data=arrays data.task=clustering": "data.task=clustering must be one of classification, multilabel, regression.",
    "data=arrays data.task=regression": (
        "loss=categorical_crossentropy does not fit a regression: it takes probabilities of classes, which numbers to "
        f"predict are not. Use one of {FOR_NUMBERS}."
    ),
    "loss=mean_absolute_percentage_error": (
        "loss=mean_absolute_percentage_error does not fit a classification: it divides by the targets, and those of "
        f"classes are mostly 0. Use one of {FOR_CLASSES}."
    ),
    "data=table_images data.task=multilabel": (
        "loss=categorical_crossentropy does not fit a multi-label classification: it is made for classes of which an "
        "image has one, and labels come in any number. Use one of hinge, squared_hinge, binary_crossentropy."
    ),
    "data=arrays data.task=multilabel loss=hinge target=log": (
        "target=log has no effect: it scales numbers, and the data has labels. Leave it out."
    ),
    "data=arrays data.task=regression loss=hinge": (
        "loss=hinge does not fit a regression: it asks for a sign, which a number to predict is not. "
        f"Use one of {FOR_NUMBERS}."
    ),
    "data=arrays data.task=regression data.num_classes=1 loss=cosine_proximity": (
        "loss=cosine_proximity needs 2 target columns or more, and the data has 1. "
        "Use loss=mean_squared_error, or more columns."
    ),
    "data=arrays data.task=regression loss=poisson target=standardize": (
        "target=standardize does not fit loss=poisson: it takes some targets to 0 or below, where that loss means "
        "nothing. Use target=auto or target=none."
    ),
    "target=log": "target=log has no effect: it scales numbers, and the data has classes. Leave it out.",
    "target=logarithm": "target=logarithm is not an option of target. Options: auto, log, minmax, none, standardize.",
    "target.mean=3": "target.mean is not a key of target=auto. Its keys: none.",
    # plans without the data
    "dry_run=true data=image_folder": (
        "data.root must be given with data=image_folder: the folder that holds a folder a class."
    ),
    "dry_run=true data=arrays": "data.path must be given with data=arrays: an .npz file.",
    "dry_run=true data=table_images loss=mean_squared_error": (
        "data.table must be given with data=table_images: a CSV file with a row an image."
    ),
    "dry_run=true data=arrays data.num_classes=x": (
        "data.num_classes=x must be a whole number or null.\n"
        "ConfigError: data.path must be given with data=arrays: an .npz file."
    ),
    # what nothing uses
    "arch=linear arch.n=2": "arch.n=2 has no effect: the pattern INPUT -> FC has no N. Leave it out.",
    "arch=linear arch={n:2}": "arch.n=2 has no effect: the pattern INPUT -> FC has no N. Leave it out.",
    "arch=linear activation=tanh": ("activation=tanh has no effect: the pattern INPUT -> FC has no ACT. Leave it out."),
    "arch=conv_fc activation=tanh": (
        "activation=tanh has no effect: the pattern INPUT -> CONV -> RELU -> FC names its activations. Leave it out."
    ),
    "arch.freeze=features": (
        "arch.freeze=features would keep random weights. Add arch.weights=last or others, or leave it out."
    ),
    "arch.loaded_lr=0.1": (
        "arch.loaded_lr=0.1 has no effect: no weights are loaded. Add arch.weights=last or others, or leave it out."
    ),
    "schedule.freeze_epochs=1": (
        "schedule.freeze_epochs=1 has no effect: no weights are loaded. "
        "Add arch.weights=last or others, or leave it out."
    ),
    "arch.weights=last schedule.freeze_epochs=5 trainer.max_epochs=5": (
        "schedule.freeze_epochs=5 of trainer.max_epochs=5 never trains the loaded layers. Use fewer, or arch.freeze."
    ),
    "arch.weights=last arch.loaded_lr=-1": "arch.loaded_lr=-1 must be at least 0.",
    "arch.head=FC arch.k=2": (
        "arch.k=2 has no effect: the pattern INPUT -> [[CONV -> NORM? -> ACT]*N -> POOL? -> DROPOUT?]*M "
        "-> [FC -> ACT -> DROPOUT?]*K -> FC with arch.head=FC has no K. Leave it out."
    ),
    "arch.weights=imagenet": (
        "arch.weights=imagenet: there are none for arch=convnet. Use one of vgg16, vgg19, resnet18, resnet34, "
        "resnet50, resnet101, squeezenet1_0, squeezenet1_1, mobilenet_v2, densenet121, googlenet, efficientnet_lite0, "
        "or convert a file: python -m convgrid adopt."
    ),
    "arch.init_residual=zero": (
        "arch.init_residual=zero has no effect: the pattern INPUT -> [[CONV -> NORM? -> ACT]*N -> POOL? -> DROPOUT?]*M "
        "-> [FC -> ACT -> DROPOUT?]*K -> FC has no SUM of a SKIP and a path that ends in NORM. Leave it out."
    ),
    "arch.pattern=INPUT->NORM(batch)->FC layer/norm=group": (
        "layer/norm=group has no effect: the pattern INPUT->NORM(batch)->FC names the type of every NORM. Leave it out."
    ),
    "arch=linear layer/norm=batch": (
        "layer/norm=batch has no effect: the pattern INPUT -> FC has no NORM. Leave it out."
    ),
    "arch=linear layer.pool.kernel_size=3": (
        "layer.pool.kernel_size=3 has no effect: the pattern INPUT -> FC has no POOL. Leave it out."
    ),
    "arch=linear arch.hidden=3": (
        "arch.hidden=3 has no effect: the pattern INPUT -> FC has no hidden FC without a width. Leave it out."
    ),
    "arch=linear arch.growth=3": (
        "arch.growth=3 has no effect: the pattern INPUT -> FC has no CONV without filters. Leave it out."
    ),
    # flags
    "--foo": "unrecognized arguments: --foo. See --hydra-help for the flags.",
    "--config-dir": "argument --config-dir/-cd: expected one argument. See --hydra-help for the flags.",
    "--config-dir /no/such": "--config-dir /no/such is not a folder.",
    "--config-path /tmp": "--config-path /tmp would replace convgrid's options. Add to them with --config-dir.",
    "--config-name mine": "Cannot find primary config 'mine'. Check that it's in your config search path.",
    "--resolve": "--resolve goes with --cfg job, --cfg all or --help.",
    "-m --cfg job": "--multirun and --cfg cannot be used together. Leave out all but one.",
    "--cfg job optimizer=sdg": f"optimizer=sdg is not an option of optimizer. Did you mean sgd? {OPTIMIZERS}",
    "hydra.foo=1": "Could not override 'hydra.foo'.\n  To append to your config use +hydra.foo=1",
    "hydra/launcher=slurm": "In 'hydra/config': Could not find 'hydra/launcher/slurm'\n"
    "  Available options in 'hydra/launcher': basic",
}


def told(*argv: str) -> str:
    with pytest.raises(ConvgridError) as caught:
        check(argv)
    return caught.value.tell()


@pytest.mark.parametrize("line", TOLD)
def test_a_mistake_is_told_with_key_cause_and_fix(line: str) -> None:
    assert told(*line.split()) == f"ConfigError: {TOLD[line]}"
    assert TOLD[line].count("\n") <= 2


def test_all_mistakes_are_told_at_once() -> None:
    line = "foo= +optimizer=adam ~data data.batchsize=4 arch.n=abc trainer.patience=-1 optimizer.eps=x seed arch.m=6"
    assert told(*line.split()).splitlines() == [
        "ConfigError: seed cannot be parsed: an override is key=value or group=option.",
        "ConfigError: +optimizer=adam: optimizer has an option already. Leave out the +.",
        "ConfigError: ~data is not allowed: every group is needed. Choose another option instead.",
        "ConfigError: foo is not a key. python run.py --help lists all keys.",
        "ConfigError: data.batchsize is not a key of data=digits. Did you mean data.batch_size?",
        "ConfigError: arch.n=abc must be a whole number, as its default 1.",
        "ConfigError: optimizer.eps=x must be a number, as its default 1e-07.",
        "ConfigError: trainer.patience=-1 must be at least 0.",
        "PlanError: arch.m=6 pools a 8x8 input 6 times, but after 3 it is 1x1. Use arch.m<=3 or layer/pool=none.",
    ]


def test_sizes_that_do_not_work_out_are_told_under_their_own_names() -> None:
    assert told("data.num_classes=0") == "PlanError: data.num_classes=0 must be at least 1."
    assert told("data.shape=[]") == "PlanError: data.shape=[] must be [channels,height,width], each at least 1."
    huge = told("arch.hidden=1000000000000")
    assert huge.startswith(
        "PlanError: the network has 267,000,000,018,826 parameters, most of them in fc1: 994,652.5 GiB"
    )
    check(["arch.hidden=1000000000000", "dry_run=true"])


def test_a_pattern_is_told_with_a_caret() -> None:
    assert told("arch.pattern=INPUT -> CONV(6, kernel=5 -> FC").splitlines() == [
        "PatternError: arch.pattern: ( is not closed. Add ).",
        "  INPUT -> CONV(6, kernel=5 -> FC",
        "               ^",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "optimizer=sgd optimizer.momentum=0.9 arch.m=3",
        "++optimizer.lr=0.1",
        "optimizer={lr:0.1}",
        "optimizer.lr=1",
        "optimizer=sgd optimizer=adam optimizer.amsgrad=true",
        "seed=9223372036854775807",
        "arch.n=${seed} seed=2",
        "data=mnist data.root=null",
        "data=arrays data.num_classes=3 dry_run=true",
        "data=arrays data.task=regression loss=poisson target=none",
        "data=arrays data.task=regression loss=mean_squared_error target=log",
        "data=arrays data.task=regression loss=cosine_proximity",
        "data=arrays data.task=multilabel loss=binary_crossentropy objective.metric=val/exact_match",
        "data=arrays objective.metric=val/top5",
        "layer.conv.kernel_size=[3,5] layer.pool.stride=1",
        "layer.conv.padding=valid layer/conv=depthwise arch.m=1",
        "resume=null",
        "hydra.verbose=true",
        "-m optimizer=sgd,adam optimizer.momentum=0.9",
        "-m optimizer=glob(ada*) arch.n=range(1,4)",
        "--help",
        "--cfg job arch.m=99",
        "--info searchpath",
        "-sc query=bash",
    ],
)
def test_what_is_right_passes_unchanged(line: str) -> None:
    assert check(line.split()).argv == line.split()


def test_flags_may_stand_between_overrides() -> None:
    assert check(["optimizer=sgd", "-m", "arch.n=1,2"]).argv == ["-m", "optimizer=sgd", "arch.n=1,2"]


def test_a_resumed_runs_values_are_not_those_of_the_defaults() -> None:
    line = ["resume=1a2b", "arch.m=9", "dry_run=true", "data=arrays"]
    assert check(line).argv == ["resume='1a2b'", *line[1:]]
    assert told("resume=1a2b", "arch.foo=1").startswith("ConfigError: arch.foo is not a key of arch=convnet.")


# --- quotes

LONG = "INPUT -> [CONV(6, kernel=5) -> RELU]*2 -> FC"


@pytest.mark.parametrize(
    "typed",
    [
        LONG,
        f"'{LONG}'",
        f'"{LONG}"',
        f" {LONG} ",
        f"'{LONG}' ",
        LONG.replace(" -> ", "->"),
        LONG.replace("-> ", "->\n  "),
    ],
)
def test_a_pattern_needs_the_shells_quotes_only(typed: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides(check([f"arch.pattern={typed}"]).argv)
    value = override.value()
    assert isinstance(value, str)
    assert re.sub(r"\s", "", value) == re.sub(r"\s", "", LONG)


def test_with_m_commas_outside_brackets_divide_patterns() -> None:
    assert check(["-m", f"arch.pattern=INPUT -> FC,{LONG}"]).argv == ["-m", f"arch.pattern='INPUT -> FC','{LONG}'"]


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("data.path=/my photos (1)/it's.npz", "/my photos (1)/it's.npz"),
        ("data.path=a,b.npz", "a,b.npz"),
        ("data.path=~/a=b.npz", "~/a=b.npz"),
        ("data.path=größe.npz", "größe.npz"),
        ("data.path=C:\\data\\", "C:\\data\\"),
        ("data.path=\\'x", "\\'x"),
        ("data.path=123", "123"),
        ("data.path=", ""),
        ("data.root=${oc.env:HOME}/data", "${oc.env:HOME}/data"),
        (r"data.group=(\d+)_frame{2,}", r"(\d+)_frame{2,}"),
        ("tracking.uri=https://me:secret@host:5000/x?a=1&b={2}", "https://me:secret@host:5000/x?a=1&b={2}"),
        ("resume=12345e678901", "12345e678901"),
        ("++tracking.experiment=null and void", "null and void"),
    ],
)
def test_free_text_reaches_the_config_as_typed(typed: str, value: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([quoted(typed, multirun=False)])
    assert override.value() == value


@pytest.mark.parametrize("typed", ["resume=null", "arch.m=3", "optimizer=sgd", "dry_run", "-m", "~data.path"])
def test_what_is_no_free_text_keeps_hydras_meaning(typed: str) -> None:
    assert quoted(typed, multirun=False) == typed


# --- experiments


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of experiments of a test's own."""
    monkeypatch.setattr(files, "EXPERIMENTS", tmp_path)
    return tmp_path


@pytest.fixture
def composed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one line of a test has composed of its files, which stay as they are, the next has at once."""
    made: dict[str, Composer] = {}
    monkeypatch.setattr(command, "Composer", lambda name, loader: made.setdefault(name, Composer(name, loader)))


def register(folder: Path, text: str) -> None:
    (folder / "mine.yaml").write_text(f"# @package _global_\n{text}")
    register_experiments()


@pytest.mark.usefixtures("composed_together")
def test_an_experiment_sets_options_and_values(experiments: Path) -> None:
    register(experiments, "defaults:\n  - override /optimizer: sgd\noptimizer:\n  momentum: 0.9\narch:\n  m: 3\n")
    assert check(["experiments=mine"]).argv == ["experiments=mine"]
    assert check(["experiments=mine", "optimizer.nesterov=true"]).argv
    assert told("experiments=mine", "optimizer.amsgrad=true").startswith(
        "ConfigError: optimizer.amsgrad is not a key of optimizer=sgd, but of optimizer=adam. "
        "Use optimizer=adam, or leave it out."
    )


def test_all_that_is_wrong_in_an_experiment_is_told_with_its_file(experiments: Path) -> None:
    register(experiments, "optimizer:\n  momentun: 0.9\n  lr: fast\narch:\n  m: 1.5\nfoo: 1\n")
    assert told("experiments=mine", "seed=x").splitlines() == [
        "ConfigError: seed=x must be a whole number, as its default 0.",
        "ConfigError: experiments/mine.yaml: arch.m=1.5 must be a whole number, as its default 2.",
        "ConfigError: experiments/mine.yaml: optimizer.lr=fast must be a number, as its default 0.001.",
        "ConfigError: experiments/mine.yaml: optimizer.momentun is not a key of optimizer=adam. "
        "Its keys: optimizer.lr, optimizer.betas, optimizer.eps, optimizer.amsgrad, optimizer.weight_decay.",
        "ConfigError: experiments/mine.yaml: foo is not a key. python run.py --help lists all keys.",
    ]


@pytest.mark.usefixtures("composed_together")
def test_a_size_of_an_experiment_that_does_not_work_out_is_told(experiments: Path) -> None:
    register(experiments, "arch:\n  m: 6\n")
    assert told("experiments=mine").startswith("PlanError: arch.m=6 pools a 8x8 input 6 times")
    check(["experiments=mine", "arch.m=3"])


def test_an_unknown_option_in_an_experiment_is_told(experiments: Path) -> None:
    register(experiments, "defaults:\n  - override /optimizer: sdg\n")
    lines = told("experiments=mine").splitlines()
    assert lines[0].startswith("ConfigError: experiments/mine.yaml: In 'config': Could not find 'optimizer/sdg'")
    assert "adadelta" in lines[1]
    assert len(lines) <= 3


def test_a_wrong_experiment_suggests_the_right_one(experiments: Path) -> None:
    assert told("experiments=mine") == "ConfigError: experiments=mine is not an option of experiments. There are none."
    register(experiments, "seed: 1\n")
    expected = "experiments=mien is not an option of experiments. Did you mean mine? Options: mine."
    assert told("experiments=mien") == f"ConfigError: {expected}"


def test_an_experiment_that_is_no_yaml_is_told_with_its_file(experiments: Path) -> None:
    register(experiments, "arch: [\n")
    assert told("experiments=mine").startswith("ConfigError: experiments/mine.yaml: while parsing a flow node")
    check([])  # another's mistake is nobody else's


# --- the user's own options


def own_option(folder: Path, group: str, text: str) -> list[str]:
    (folder / group).mkdir(parents=True, exist_ok=True)
    (folder / group / "mine.yaml").write_text(text, encoding="utf-8")
    return ["--config-dir", str(folder), f"{group}=mine"]


@pytest.mark.usefixtures("composed_together")
def test_a_persons_own_option_has_its_own_keys_and_types(tmp_path: Path) -> None:
    line = own_option(tmp_path, "activation", "_target_: own.squareplus\nb: 4.0\n")
    assert check([*line, "activation.b=1"]).argv == [*line, "activation.b=1"]
    assert told(*line, "activation.b=x") == "ConfigError: activation.b=x must be a number, as its default 4.0."
    assert "Its keys: activation.b." in told(*line, "activation.c_long=1")
    assert "Options: elu," in told("--config-dir", str(tmp_path), "activation=min")


def test_a_persons_own_option_without_a_target_is_told(tmp_path: Path) -> None:
    expected = "ConfigError: activation=mine has no _target_. Add to its file: _target_: package.module.name"
    assert told(*own_option(tmp_path, "activation", "b: 4.0\n")) == expected


def test_a_persons_own_loss_without_a_fit_is_told_what_to_add(tmp_path: Path) -> None:
    line = own_option(tmp_path, "loss", "_target_: own.poly1\nepsilon: 1.0\n")
    assert told(*line) == (
        "ConfigError: loss/mine.yaml does not say how the loss goes with targets (docs/components.md). "
        "Add to it, for a classification:\n"
        "fit: {classification: {form: index, link: softmax, from_scores: true}}"
    )


def test_a_persons_own_data_without_a_shape_is_told(tmp_path: Path) -> None:
    line = own_option(tmp_path, "data", "_target_: own.data\nbatch_size: 8\n")
    expected = "data=mine has no data.shape, data.num_classes. Add them to the file of that option."
    assert told(*line) == f"ConfigError: {expected}"
    line = own_option(tmp_path, "data", "_target_: own.data\nbatch_size: null\nshape: null\nnum_classes: null\n")
    expected = "data=mine has no data.shape, data.batch_size. Add them to the file of that option."
    assert told(*line) == f"ConfigError: {expected}"


@pytest.mark.parametrize("text", ["b: [\n", "b: ${nothing}\n_target_: own.x\n", "- a\n- b\n"])
def test_a_persons_own_option_that_does_not_read_is_told_in_three_lines(tmp_path: Path, text: str) -> None:
    message = told(*own_option(tmp_path, "optimizer", text))
    assert message.startswith("ConfigError: ")
    assert "mine.yaml" in message or "optimizer=mine" in message or "optimizer.b" in message
    assert len(message.splitlines()) <= 3


def test_a_plain_run_is_composed_as_hydra_would() -> None:
    argv = ["optimizer=sgd", "optimizer.lr=0.5", "arch.pattern=INPUT -> CONV(6, kernel=5) -> FC", "data.shape=[1,8,8]"]
    settings = check(argv).settings
    assert settings is not None
    with initialize_config_dir(str(files.CONF), version_base="1.3"):
        expected = compose("config", check(argv).argv)
    assert settings.values == OmegaConf.to_container(expected, resolve=True)
    assert settings.choices["optimizer"] == "sgd"


@pytest.mark.parametrize(
    "argv",
    [
        ["--cfg", "job"],
        ["--help"],
        ["hydra.verbose=true"],
        ["-m", "arch.n=1,2", "hydra.verbose=true"],
        ["-m", "arch.n=1,2", "hydra/sweeper=basic"],
    ],
)
def test_what_is_more_than_a_plain_run_is_left_to_hydra(argv: list[str]) -> None:
    assert check(argv).settings is None


def test_a_sweep_starts_from_what_is_not_swept() -> None:
    command = check(["-m", "arch.n=1,2", "optimizer=sgd,adam", "optimizer.momentum=0.9", "seed=3", "data=random"])
    plain = check([]).settings
    assert command.settings is not None
    assert plain is not None
    assert command.is_sweep
    assert command.arguments == command.argv[1:]
    assert command.settings.seed == 3
    assert command.settings.choices["data"] == "random"
    assert command.settings.values["optimizer"] == plain.values["optimizer"]


def test_a_sweeps_grids_are_those_that_hydra_would_hand_on() -> None:
    argv = ["-m", "arch.n=1,2", "optimizer=sgd,adam", "optimizer.momentum=0.9", "sweep.union=[['seed=1'],['seed=2,3']]"]
    command, schema = check(argv), Composer("config", find_options(None))
    config = OmegaConf.create({"sweep": {"union": [["seed=1"], ["seed=2,3"]]}})
    given, handed_on = command.grids, grids(config, command.arguments, schema.loader)
    assert [[o.input_line for o in grid] for grid in given] == [[o.input_line for o in grid] for grid in handed_on]
    assert [o.value() for o in given[1] if o.is_sweep_override()] == [
        o.value() for o in handed_on[1] if o.is_sweep_override()
    ]


def test_a_key_of_some_swept_options_reaches_hydra_as_a_choice() -> None:
    """Hydra sets what has one value before it knows the options, and would refuse it."""
    line = ["optimizer=sgd,adam", "optimizer.momentum=0.9", "seed=3", "hydra.verbose=false"]
    assert check(["-m", *line]).argv == ["-m", line[0], "optimizer.momentum=choice(0.9)", *line[2:]]


def test_a_name_whose_bytes_no_file_of_a_run_can_hold_is_refused() -> None:
    assert told("data=image_folder", "data.root=" + os.fsdecode(b"caf\xe9")).splitlines()[-1] == (
        "ConfigError: data.root=caf\udce9 has bytes that are not UTF-8, and the files of a run hold only that. "
        "Rename it, or make a link to it with another name."
    ).replace("\udce9", "\\xe9")
    assert check(["data=image_folder", "data.root=größe/猫"]).settings is not None


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("table=no.csv", "data.table=no.csv is not a file. It must be a CSV file with a row an image."),
        ("root=no", "data.root=no is not a folder. It must hold a folder of images for each class."),
        ("path=no.npz", "data.path=no.npz is not a file."),
    ],
)
def test_data_that_is_missing_is_told_before_what_does_not_go_with_it(in_tmp: Path, typed: str, line: str) -> None:
    option = {"table": "table_images", "root": "image_folder", "path": "arrays"}[typed.partition("=")[0]]
    loss = "hinge" if option == "table_images" else "poisson"
    first, second = told(f"data={option}", f"data.{typed}", f"loss={loss}").splitlines()
    assert first == f"DataError: {line}"
    assert second.startswith(f"ConfigError: loss={loss} does not fit")
