"""What LLaMA-Factory reads, beside what a study reads; only where it is installed: it is no dependency."""

import pytest
from loratune.demo import model_path
from loratune.integrations.llamafactory import TEMPLATES
from loratune.objectives.data.encode import encode
from loratune.objectives.data.formats import Conversation, Turn
from loratune.objectives.data.templates import BuiltInTemplate
from transformers import AutoTokenizer

supervised = pytest.importorskip("llamafactory.data.processor.supervised")
template = pytest.importorskip("llamafactory.data.template")
hparams = pytest.importorskip("llamafactory.hparams")

TALKS = (
    (("user", "What is 1+1?"), ("assistant", "It is 2.")),
    (("system", "Be brief."), ("user", "  Hello\nthere"), ("assistant", " Hi")),
    (("user", "a"), ("assistant", "b"), ("user", "c d"), ("assistant", "e f g\n")),
)


def theirs(name, talk):
    """Return LLaMA-Factory's token ids and labels of a conversation."""
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    arguments = hparams.DataArguments(template=name, cutoff_len=1024)
    processor = supervised.SupervisedDatasetProcessor(
        template=template.get_template_and_fix_tokenizer(tokenizer, arguments),
        tokenizer=tokenizer,
        processor=None,
        data_args=arguments,
    )
    system = talk[0][1] if talk[0][0] == "system" else None
    messages = [{"role": role, "content": text} for role, text in talk if role != "system"]
    return processor._encode_data_example(messages[:-1], messages[-1:], system, None, [], [], [])


def ours(name, talk):
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    turns = tuple(Turn(role=role, content=text) for role, text in talk)
    rendered = BuiltInTemplate(name, tokenizer).render(Conversation(turns=turns))
    ((ids, mask),) = encode([rendered], tokenizer)
    return list(ids), [int(token) if own else -100 for token, own in zip(ids, mask, strict=True)]


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", ["default", "alpaca"])
def test_it_reads_what_the_study_read_but_for_what_it_adds_after_an_answer(name, talk):
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    after = tokenizer.encode("\n" if name == "default" else "\n\n", add_special_tokens=False)
    ids, labels = ours(name, talk)
    their_ids, their_labels = theirs(TEMPLATES[name], talk)
    assert their_ids == ids + after
    # The only labels that are its own are those of the break after an answer's end.
    own = [at for at, label in enumerate(their_labels) if at >= len(labels) or label != labels[at]]
    answers = sum(role == "assistant" for role, _ in talk)
    assert [their_ids[at] for at in own] == after * answers
    assert [their_labels[at] for at in own] == after * answers
